"""Kept for a while under its old name; import from the modules below."""

from tests.support.processes.forks import Forked as Forked
from tests.support.processes.forks import run as run
