"""Kept for a while under its old name; import from the modules below."""

from tests.support.mqtt.samples import CONNECT as CONNECT
from tests.support.mqtt.samples import VALUES as VALUES
from tests.support.mqtt.samples import VERSIONS as VERSIONS
from tests.support.mqtt.samples import acks as acks
from tests.support.mqtt.samples import auths as auths
from tests.support.mqtt.samples import body_of as body_of
from tests.support.mqtt.samples import client_packets as client_packets
from tests.support.mqtt.samples import connected as connected
from tests.support.mqtt.samples import connects as connects
from tests.support.mqtt.samples import filters as filters
from tests.support.mqtt.samples import flat as flat
from tests.support.mqtt.samples import from_clients as from_clients
from tests.support.mqtt.samples import from_servers as from_servers
from tests.support.mqtt.samples import identifiers as identifiers
from tests.support.mqtt.samples import pieces as pieces
from tests.support.mqtt.samples import properties as properties
from tests.support.mqtt.samples import publishes as publishes
from tests.support.mqtt.samples import reasons as reasons
from tests.support.mqtt.samples import server_packets as server_packets
from tests.support.mqtt.samples import strings as strings
from tests.support.mqtt.samples import topics as topics
from tests.support.mqtt.samples import values as values
from tests.support.mqtt.samples import versions as versions
from tests.support.mqtt.samples import wills as wills
from tests.support.mqtt.samples import with_length as with_length
from tests.support.mqtt.samples import with_method as with_method
