"""Kept for a while under its old name; import from the modules below."""

from tests.support.clients import Json as Json
from tests.support.clients import Text as Text
from tests.support.clients import endpoint as endpoint
from tests.support.processes import Process as Process
from tests.support.repository import ROOT as ROOT
from tests.support.stores import WatchedStore as WatchedStore
from tests.support.strategies import pieces as pieces
from tests.support.waiting import DEADLINE as DEADLINE
