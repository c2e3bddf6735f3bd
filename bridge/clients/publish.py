"""Floor 3: PUBLISH and PUBREL: what one MQTT client publishes, as requests of its session, in order."""

from __future__ import annotations

import msgspec

from channels import LIVE, Log, Session, User, handle
from store import StoreError
from wire import VERSION
from wire.errors import Refused
from wire.frames import Answer, Error, LogState, Msg, Offer, Register, Request, Say, Welcome
from wire.mqtt import NONE, Publish, PubRel, encode_acknowledgement, encode_pubcomp
from wire.topics import Gone, Here, LiveMessage

from .responses import QOS_SHIFT, RequestContext, Responses
from .shared import SharedState

_MAX_TOPICS = 1_000  # topics of one client whose channel is remembered


class PublishHandler:
    """Handles the PUBLISHes of one connection. Called by the connection's own thread only.

    Requests are gathered, so that the session stores posts that follow each other at once; `flush` hands them on.
    """

    __slots__ = (
        "_channels", "_client_id", "_gathered", "_responses", "_session", "_shared", "_unreleased", "gone",
        "posted_once",
    )  # fmt: skip

    def __init__(self, shared: SharedState, session: Session, responses: Responses) -> None:
        self._shared = shared
        self._session = session
        self._responses = responses
        self._client_id = ""
        self._gathered: list[Request] = []
        self._channels: dict[str, Log] = {}  # by the topic of a post
        self._unreleased: set[int] = set()  # packet identifiers of QoS 2 whose message is not stored, until PUBREL
        self.gone = False  # the client has published that it leaves
        self.posted_once = False  # the store has ids of posts at QoS 2

    def open(self, client_id: str) -> None:
        """Set the client id in the form of `Login`."""
        self._client_id = client_id

    def take(self, packet: Publish) -> None:
        """Do what a PUBLISH asks, or gather its request. A plain post to a topic used before takes a short way."""
        log = self._channels.get(packet.topic)
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
                ref = packet.qos << QOS_SHIFT | packet.packet_id if packet.qos else None
                self._gathered.append(Say(packet.payload.decode(), log.row.name, None, ref=ref))
                return
            except UnicodeDecodeError:
                pass
        if not self.gone:
            self._take_any(packet)

    @property
    def gathered(self) -> int:
        """The number of requests that wait for `flush`."""
        return len(self._gathered)

    def flush(self) -> None:
        """Hand the gathered requests to the session."""
        if self._gathered:
            requests, self._gathered = self._gathered, []
            handle(self._session, requests)

    def _settle(self) -> None:
        """Wait until earlier requests are answered, as acknowledgements keep their order ([MQTT-4.6.0-2]).

        Then wait until at most a backlog of bytes is unsent: a client must not ask faster than it reads.
        """
        self.flush()
        self._session.settle()
        self._session.reader.wait_for_room(self._shared.chat.limits.backlog)

    def _take_any(self, packet: Publish) -> None:
        properties = packet.properties
        response_topic = self._response_topic(properties.response_topic)
        context = RequestContext(packet.topic, response_topic, properties.correlation_data)
        try:
            request = self._request(packet)
            if isinstance(request, LiveMessage):
                self._session.check_rate(LIVE)
            if isinstance(request, LiveMessage | Here | Gone):
                self._settle()
                self._do(packet, request, context)
                return
            if isinstance(request, Say):
                request.channel = self._join(request.channel, packet.topic)
            elif isinstance(request, Offer) and request.channel:
                self._settle()
                self._session.join(request.channel)
        except (Refused, StoreError) as error:
            self._settle()
            code, sentence = (error.code, error.sentence) if isinstance(error, Refused) else ("not-stored", error.told)
            self._session.report.refused("publish", code, sentence)
            ref = self._responses.ref(packet.packet_id, packet.qos, context)
            self._session.reader.reply(Error(code=code, error=sentence, ref=ref))
            return
        if packet.qos or not isinstance(request, Say) or self._responses.tells_stored:
            request.ref = self._responses.ref(packet.packet_id, packet.qos, context)
        self._gathered.append(request)
        if not isinstance(request, Say | Msg):
            self.flush()  # a later packet depends on it: the request may be a leave

    @property
    def _user(self) -> User:
        user = self._session.user
        assert user is not None, "only CONNECT comes before the login"
        return user

    def _request(self, packet: Publish) -> Request | LiveMessage:
        """Return what a PUBLISH asks. Raises Refused."""
        limit = self._shared.chat.limits.line
        request = self._shared.topics.request(packet.topic, packet.payload, self._responses.me, limit)
        if isinstance(request, Register) and self._user.registered:
            raise Refused("not-allowed", "The name is registered already. Change its password in a terminal.")
        if packet.qos == 2 and isinstance(request, Say | Msg) and request.id is None:
            request.id = self._post_id(packet.packet_id)
            self.posted_once = True
        return request

    def _post_id(self, packet_id: int) -> str:
        """Return the id under which the store takes a post at QoS 2 once, until its PUBREL."""
        return f"/{self._client_id}/{packet_id}"

    def _response_topic(self, topic: str | None) -> str | None:
        """Return a response topic if only the client itself reads it; any other response topic is ignored."""
        own = topic is not None and topic.startswith(f"{self._shared.topics.to(self._responses.me)}/")
        return topic if own else None

    def answer(self, packet: Publish, answer: Answer) -> None:
        """Send the answer to a request that was acknowledged already."""
        properties = packet.properties
        response_topic = self._response_topic(properties.response_topic)
        context = RequestContext(packet.topic, response_topic, properties.correlation_data)
        answer.ref = self._responses.ref(0, 0, context)
        self._session.reader.reply(answer)

    def _join(self, channel: str, topic: str) -> str:
        """Join the channel of a post, if its user has not, and remember it for the topic. Return its name."""
        chat, user = self._shared.chat, self._user
        log = chat.channel(channel)
        if log is None or log not in user.joined:
            self._settle()
            log, _ = self._session.join(channel)
        if len(self._channels) < _MAX_TOPICS:
            self._channels[topic] = log
        return log.row.name

    def _do(self, packet: Publish, request: LiveMessage | Here | Gone, context: RequestContext) -> None:
        """Acknowledge and do what is no request of the session."""
        welcome = self._welcome() if isinstance(request, Here) else None  # first, as the store may fail
        fresh = packet.packet_id not in self._unreleased
        if packet.qos:
            self._session.reader.reply_bytes(encode_acknowledgement(packet.qos, packet.packet_id))
        if packet.qos == 2:
            self._unreleased.add(packet.packet_id)
        if welcome is not None:
            welcome.ref = self._responses.ref(0, 0, context)
            self._session.reader.reply(welcome)
        elif isinstance(request, LiveMessage):
            if fresh:
                self._publish_live(packet, request)
        else:
            self.gone = True
            self._channels.clear()

    def _welcome(self) -> Welcome:
        """Return the user's name and logs, like the answer to a program's `hello`."""
        chat, user = self._shared.chat, self._user
        pairs = [(membership, chat.log(membership.log)) for membership in chat.store.memberships(user.key)]
        logs = [LogState(log.tail, each.cursor, log.channel, log.partner(user.key)) for each, log in pairs]
        return Welcome(name=user.name, server=f"partyline {VERSION}", token="", registered=user.registered, logs=logs)

    def _publish_live(self, packet: Publish, request: LiveMessage) -> None:
        user = self._user
        properties = msgspec.structs.replace(packet.properties, topic_alias=None)
        message = LiveMessage(request.to, request.payload, properties)
        self._shared.live.publish(user.name, message, f"{user.key}/{self._client_id}")

    def release(self, packet: PubRel) -> None:
        """Free a packet identifier of QoS 2 for another message (§4.3.3), and answer with PUBCOMP."""
        self._session.settle()
        if packet.packet_id in self._unreleased:
            self._unreleased.discard(packet.packet_id)
        else:
            self._shared.chat.store.forget_id(self._session.reader.user_key, self._post_id(packet.packet_id))
        self._session.reader.reply_bytes(encode_pubcomp(packet.packet_id))
