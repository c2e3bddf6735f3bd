"""Floor 3: live messages from one server to another: to the clients there, or to the broker that the other one mirrors.

A server sends a message if its receiver is connected by MQTT elsewhere, as far as it knows. The server that hears it
tells no other one, so that no message can loop.
"""

from __future__ import annotations

import msgspec

from channels import Chat, Live
from wire.mqtt import Properties
from wire.names import fold
from wire.topics import LiveMessage

from .live import LiveRouter

_CLIENTS, _WITH_BROKER = frozenset(("mqtt",)), frozenset(("mqtt", "broker"))  # the transports of receivers
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[bytes, Properties]).decode


class LiveRing:
    """Any thread may call it."""

    def __init__(self, chat: Chat, router: LiveRouter) -> None:
        self._chat = chat
        self._router = router
        if not chat.outbox.alone:
            router.to_servers = self._tell
            chat.hearing.listen(Live, self._heard)

    def _tell(self, sender: str, message: LiveMessage, from_broker: bool) -> None:
        user = self._chat.directory.find(fold(message.to))
        wanted = _CLIENTS if from_broker else _WITH_BROKER
        if user is not None and any(each.transport in wanted for each in user.elsewhere):
            packed = _encode((message.payload, message.properties))
            self._chat.outbox.tell_live(Live(message.to, sender, packed, from_broker))

    def _heard(self, _server: int, notice: Live) -> None:
        try:
            payload, properties = _decode(notice.message)
        except msgspec.DecodeError:
            return  # of a newer server; a live message may be lost
        message = LiveMessage(notice.to, payload, properties)
        self._router.deliver(notice.sender, message, from_broker=notice.from_broker)
