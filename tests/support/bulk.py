"""Kept for a while under its old name; import from the modules below."""

from tests.support.clients import Bulk as Bulk
from tests.support.clients import Gone as Gone
from tests.support.mqtt import BulkMqtt as BulkMqtt
from tests.support.processes import counts as counts
from tests.support.processes import descriptors as descriptors
from tests.support.processes import memory as memory
from tests.support.processes import peak_memory as peak_memory
from tests.support.processes import returns_to as returns_to
from tests.support.processes import serves as serves
from tests.support.processes import threads as threads
from tests.support.waiting import eventually as eventually
