"""Kept for a while under its old name; import from the modules below."""

from tests.support.processes.clients import Client as Client
from tests.support.processes.clients import Running as Running
from tests.support.processes.clients import command as command
from tests.support.processes.clients import environment as environment
from tests.support.processes.clients import run as run
from tests.support.processes.clients import runners as runners
from tests.support.processes.clients import url as url
from tests.support.processes.screens import Screen as Screen
from tests.support.processes.screens import Tmux as Tmux
from tests.support.processes.screens import screens as screens
