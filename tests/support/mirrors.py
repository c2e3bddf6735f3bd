"""Kept for a while under its old name; import from the modules below."""

from tests.support.brokers.site import Meet as Meet
from tests.support.brokers.site import Site as Site
from tests.support.brokers.site import broker_kind as broker_kind
from tests.support.brokers.site import enter as enter
from tests.support.brokers.site import fluent as fluent
from tests.support.brokers.site import meet as meet
from tests.support.brokers.site import quick as quick
from tests.support.brokers.site import site as site
from tests.support.brokers.site import start_broker as start_broker
