"""Floor 2: the chat itself: logs, cursors, members, names, accounts. No socket, no MQTT, no SQL.

`Chat` is what all connections share, `Session` is one connection in it, `Reader` sends to its peer. A door gives a
session a `SessionReader` and gives `handle` the requests that it has read. Other folders import from here only.
"""

from __future__ import annotations

from .chat import Chat
from .directory import Directory
from .dispatch import handle
from .files import LineLostError
from .journal import Posting
from .locks import leaf, nothing_held
from .log import Block, Follower, Log, ReadableLog
from .passwords import Passwords
from .rates import CONNECTIONS, LIVE, LOGINS, REGISTERS, REQUESTS, SUBSCRIPTIONS, WILLS, Origin
from .reader import Outlet, Reader
from .receipts import Ref
from .requests.login import REPORTED, catch_up, may_try_again, prove, take_name
from .ring import Came, Live, Parted, PartWanted
from .session import Session
from .session_reader import SessionReader
from .session_report import SessionReport
from .user import ConnectedSession, User
from .waiting import WaitingBytes

__all__ = [
    "CONNECTIONS",
    "LIVE",
    "LOGINS",
    "REGISTERS",
    "REPORTED",
    "REQUESTS",
    "SUBSCRIPTIONS",
    "WILLS",
    "Block",
    "Came",
    "Chat",
    "ConnectedSession",
    "Directory",
    "Follower",
    "LineLostError",
    "Live",
    "Log",
    "Origin",
    "Outlet",
    "PartWanted",
    "Parted",
    "Passwords",
    "Posting",
    "ReadableLog",
    "Reader",
    "Ref",
    "Session",
    "SessionReader",
    "SessionReport",
    "User",
    "WaitingBytes",
    "catch_up",
    "handle",
    "leaf",
    "may_try_again",
    "nothing_held",
    "prove",
    "take_name",
]
