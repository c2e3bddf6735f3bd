"""Kept for a while under its old name; import from the modules below."""

from tests.support.brokers.access import BROKERS as BROKERS
from tests.support.brokers.access import CLIENTS as CLIENTS
from tests.support.brokers.access import PASSWORDS as PASSWORDS
from tests.support.brokers.access import READS as READS
from tests.support.brokers.access import WRITES as WRITES
from tests.support.brokers.access import Running as Running
from tests.support.brokers.access import free_port as free_port
from tests.support.brokers.access import mosquitto as mosquitto
from tests.support.brokers.access import nats as nats
from tests.support.brokers.access import need as need
