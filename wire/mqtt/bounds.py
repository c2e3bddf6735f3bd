"""Floor 0: how much of one kind a packet of MQTT may hold, beside its size: what each costs memory for."""

from __future__ import annotations

from typing import NamedTuple


class Bounds(NamedTuple):
    """The bounds of every packet of a connection. The defaults are as good as none.

    `topic` is in bytes, of the topic of a PUBLISH; `filters` is of one SUBSCRIBE or UNSUBSCRIBE. `connect` is in bytes,
    of a whole CONNECT, whose sender is not known yet.
    """

    topic: int = 65_535
    filters: int = 1 << 20
    user_properties: int = 1 << 20
    connect: int = 65_536


UNBOUNDED = Bounds()
