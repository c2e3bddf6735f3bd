"""The types of the fixtures of `tests/conftest.py` that start or connect something."""

from __future__ import annotations

from collections.abc import Callable

from server import Server
from tests.support.processes import Process
from tests.support.talkers import Talker

StartServer = Callable[..., Server]
StartProcess = Callable[..., Process]
Enter = Callable[..., Talker]
Meet = Callable[..., Talker]
