"""Kept for a while under its old name; import from the modules below."""

from tests.support.terminal import ME as ME
from tests.support.terminal import REPLY as REPLY
from tests.support.terminal import TOPICS as TOPICS
from tests.support.terminal import FakeServer as FakeServer
from tests.support.terminal import Log as Log
from tests.support.terminal import Wire as Wire
from tests.support.terminal import entry as entry
from tests.support.terminal import sent as sent
from tests.support.terminal import wire as wire
