"""Kept for a while under its old name; import from the modules below."""

from tests.support.journal import FakeOutlet as FakeOutlet
from tests.support.journal import FakePump as FakePump
from tests.support.journal import FakeStore as FakeStore
from tests.support.journal import Poster as Poster
from tests.support.journal import Stage as Stage
