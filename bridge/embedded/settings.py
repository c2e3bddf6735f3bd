"""Floor 3: the settings that the server sends to the embedded broker's process, as one line of JSON."""

from __future__ import annotations

import msgspec

from reporting import LogOptions
from wire.limits import Limits


class ProcessSettings(msgspec.Struct, frozen=True):
    """The process's settings.

    `listener` is the listening socket's descriptor, `store` the store's URL, `secret` the password of `user`.
    """

    listener: int
    store: str
    root: str
    user: str
    secret: str
    log: LogOptions
    limits: Limits
