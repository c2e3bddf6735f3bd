"""Kept for a while under its old name; import from the modules below."""

from tests.support.brokers.scripted import ScriptedBroker as ScriptedBroker
from tests.support.brokers.scripted import Visit as Visit
from tests.support.brokers.scripted import broker as broker
from tests.support.brokers.scripted import server as server
from tests.support.brokers.scripted import status as status
from tests.support.brokers.scripted import wait as wait
