"""Floor 3: what one MQTT client publishes, as requests of its session, in order."""

from __future__ import annotations

import msgspec

from channels import Log, Session, User, handle
from store import StoreError
from wire import VERSION
from wire.errors import Refused
from wire.frames import Error, LogState, Msg, Offer, Register, Request, Say, Welcome
from wire.mqtt import NONE, PubAck, PubComp, Publish, PubRec, PubRel, encode
from wire.topics import Gone, Here, LiveMessage

from .responses import RequestContext, Responses
from .shared import SharedState

_KNOWN = 1_000  # topics of one client whose channel is kept


class PublishHandler:
    """Takes the PUBLISHes of one connection; called by the connection's own thread alone.

    What is to be said is gathered, so that posts that follow each other are stored at once; `flush` hands it on.
    """

    __slots__ = (
        "_client_id",
        "_held",
        "_known",
        "_responses",
        "_session",
        "_shared",
        "_waiting",
        "gone",
    )  # fmt: skip

    def __init__(self, shared: SharedState, session: Session, responses: Responses) -> None:
        self._shared = shared
        self._session = session
        self._responses = responses
        self._client_id = ""
        self._waiting: list[Request] = []  # posts, in order
        self._known: dict[str, Log] = {}  # topics to say something in a channel, and the channel
        self._held: set[int] = set()  # packet identifiers of QoS 2 that brought what is not stored
        self.gone = False  # the client has said that it has left

    def open(self, client_id: str) -> None:
        """The client has connected, and goes by that id (see `Login`)."""
        self._client_id = client_id

    def take(self, packet: Publish) -> None:
        """Do what a PUBLISH asks, or gather it."""
        log = self._known.get(packet.topic)
        if (
            log is not None
            and packet.properties is NONE
            and packet.payload[:1] != b"{"
            and 0 < len(packet.payload) <= self._shared.chat.limits.line
            and packet.qos < 2
            and (packet.qos or not self._responses.tells_stored)
            and log in self._session.user.joined  # type: ignore[union-attr]
        ):
            try:
                ref = packet.qos << 16 | packet.packet_id if packet.qos else None
                self._waiting.append(Say(packet.payload.decode(), log.row.name, None, ref=ref))
                return
            except UnicodeDecodeError:
                pass
        if not self.gone:
            self._take_any(packet)

    def flush(self) -> None:
        """Hand on what was gathered."""
        if self._waiting:
            posts, self._waiting = self._waiting, []
            handle(self._session, posts)

    def _settle(self) -> None:
        """Have what came before done, so that acknowledgements keep their order ([MQTT-4.6.0-2]), and be read."""
        self.flush()
        self._session.settle()
        self._session.reader.wait_for_room(self._shared.chat.limits.backlog)

    def _take_any(self, packet: Publish) -> None:
        properties = packet.properties
        context = RequestContext(
            packet.topic, self._response_topic(properties.response_topic), properties.correlation_data
        )
        try:
            request = self._request(packet)
            if isinstance(request, LiveMessage | Here | Gone):
                self._settle()
                self._do(packet, request, context)
                return
            if isinstance(request, Say):
                request.channel = self._join(request.channel, packet.topic)
            elif isinstance(request, Offer) and request.channel:
                self._settle()
                self._shared.chat.join(request.channel, self._session.user)  # type: ignore[arg-type]
        except (Refused, StoreError) as error:
            self._settle()
            code, sentence = (error.code, error.sentence) if isinstance(error, Refused) else ("not-stored", str(error))
            ref = self._responses.ref(packet.packet_id, packet.qos, context)
            self._session.reader.reply(Error(code=code, error=sentence, ref=ref))
            return
        if packet.qos or not isinstance(request, Say) or self._responses.tells_stored:
            request.ref = self._responses.ref(packet.packet_id, packet.qos, context)
        self._waiting.append(request)
        if not isinstance(request, Say | Msg):
            self.flush()  # what comes after it depends on it: it may be a leave

    def _request(self, packet: Publish) -> Request | LiveMessage:
        limit = self._shared.chat.limits.line
        request = self._shared.topics.request(packet.topic, packet.payload, self._responses.me, limit)
        user = self._session.user
        if isinstance(request, Register) and user is not None and user.registered:
            raise Refused("not-allowed", "The name is registered already; its password is changed in a terminal.")
        if packet.qos == 2 and isinstance(request, Say | Msg) and request.id is None:
            request.id = self._own_id(packet.packet_id)
        return request

    def _own_id(self, packet_id: int) -> str:
        """Under which the store keeps what came at QoS 2 just once, until it is released."""
        return f"/{self._client_id}/{packet_id}"

    def _response_topic(self, topic: str | None) -> str | None:
        """Responses go to where the client alone reads; another response topic is passed over."""
        return (
            topic if topic is not None and topic.startswith(f"{self._shared.topics.to(self._responses.me)}/") else None
        )

    def _join(self, channel: str, topic: str) -> str:
        """Saying something joins."""
        chat, user = self._shared.chat, self._session.user
        assert user is not None
        log = chat.channel(channel)
        if log is None or log not in user.joined:
            self._settle()
            log = chat.join(channel, user)
        if len(self._known) < _KNOWN:
            self._known[topic] = log
        return log.row.name

    def _do(self, packet: Publish, request: LiveMessage | Here | Gone, context: RequestContext) -> None:
        """What is no request of the session: acknowledge it, and do it."""
        user = self._session.user
        assert user is not None
        welcome = self._welcome(user) if isinstance(request, Here) else None  # first, as the store may fail
        fresh = packet.packet_id not in self._held
        if packet.qos:
            self._reply(PubAck(packet.packet_id) if packet.qos == 1 else PubRec(packet.packet_id))
        if packet.qos == 2:
            self._held.add(packet.packet_id)
        if isinstance(request, Gone):
            self.gone = True
            self._known.clear()
        elif isinstance(request, Here):
            assert welcome is not None
            welcome.ref = self._responses.ref(0, 0, context)
            self._session.reader.reply(welcome)
        elif fresh:
            properties = msgspec.structs.replace(packet.properties, topic_alias=None)
            message = LiveMessage(request.to, request.payload, properties)
            self._shared.live.publish(user.name, message, f"{user.key}/{self._client_id}")

    def _welcome(self, user: User) -> Welcome:
        """Whose name it is and what they are a member of, as after the `hello` of a program."""
        chat = self._shared.chat
        pairs = [(membership, chat.log(membership.log)) for membership in chat.store.memberships(user.key)]
        logs = [LogState(log.tail, each.cursor, log.channel, log.peer(user.key)) for each, log in pairs]
        return Welcome(name=user.name, server=f"partyline {VERSION}", token="", registered=user.registered, logs=logs)

    def _reply(self, packet: PubAck | PubRec | PubComp) -> None:
        self._session.reader.reply_bytes(encode(packet, self._responses.version))

    def release(self, packet: PubRel) -> None:
        """The second half of QoS 2: the packet identifier is free for another message (§4.3.3)."""
        self._session.settle()
        if packet.packet_id in self._held:
            self._held.discard(packet.packet_id)
        else:
            self._shared.chat.store.forget_id(self._session.reader.user_key, self._own_id(packet.packet_id))
        self._reply(PubComp(packet.packet_id))
