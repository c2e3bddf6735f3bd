"""Floor 3: SUBSCRIBE and UNSUBSCRIBE of one client, and its session, which may be kept while it is away."""

from __future__ import annotations

from collections.abc import Sequence

from channels import Log, Session, catch_up
from store import Client
from wire.clock import now
from wire.mqtt import MqttError, Reason, SubAck, Subscribe, UnsubAck, Unsubscribe, encode

from .delivery import MqttReader
from .responses import Responses
from .shared import SharedState
from .subscriptions import Subscriptions


class Subscriber:
    """What one connection reads, by its subscriptions. Called by the connection's own thread alone.

    `expiry` is how many seconds the session is kept after the connection.
    """

    __slots__ = ("_key", "_reader", "_responses", "_session", "_shared", "_subscriptions", "expiry")

    def __init__(
        self,
        shared: SharedState,
        session: Session,
        reader: MqttReader[Log],
        subscriptions: Subscriptions,
        responses: Responses,
    ) -> None:
        self._shared = shared
        self._session = session
        self._reader = reader
        self._subscriptions = subscriptions
        self._responses = responses
        self._key = ""
        self.expiry = 0

    # The session

    def open(self, key: str, sent: dict[int, int] | None, *, clean: bool) -> bool:
        """Take up the session that was kept, or begin a new one; whether there was one. Nothing is sent yet.

        `sent` is how far each log was sent by an earlier connection, by the log's id, None if that is not known.
        """
        self._key = key
        store = self._shared.chat.store
        kept = None if clean else store.client(key, now())
        if kept is None:
            store.drop_client(key)
        else:
            self._subscriptions.restore(kept.state)
        if self.expiry != 0:
            self._save(until=None)
        if kept is not None:
            self._resume(store.client_cursors(key), sent)
        return kept is not None

    def _resume(self, cursors: dict[int, int], sent: dict[int, int] | None) -> None:
        """Go on where the acknowledgements ended (§4.4); at QoS 0, from now on."""
        for log in self._shared.chat.all_channels():
            encoding, tail = self._subscriptions.encoding_of(log), log.tail
            if encoding is not None and encoding.acknowledged:
                self._reader.resume(log, cursors.get(log.row.id, 0), tail if sent is None else sent.get(log.row.id, 0))
            elif encoding is not None:
                self._reader.resume(log, tail)

    def begin(self) -> None:
        """The client has been accepted: send what waits, and what comes."""
        self._follow_messages()

    def close(self) -> None:
        """The connection has ended: keep the session, if it is to be kept."""
        if self.expiry == 0:
            self._shared.chat.store.drop_client(self._key)
        else:
            self._shared.registry.remember(self._key, self._reader.sent(), self.expiry)
            self._save(until=now() + self.expiry * 1000)

    def _save(self, until: int | None) -> None:
        self._shared.chat.store.save_client(Client(self._key, self.expiry, until, self._subscriptions.dump()))

    def acknowledged(self, packet_ids: tuple[int, ...]) -> None:
        """The client has acknowledged packets: move its cursors, and those of its user in direct conversations."""
        journal = self._shared.chat.journal
        for log, number in self._reader.acknowledged(packet_ids).items():
            if log.channel is None:
                seen = self._reader.acknowledge(log, number)
                if seen is not None:
                    journal.move(log, self._reader.user_key, seen)
            elif self.expiry != 0:
                journal.move(log, self._key, number)
        journal.carry()

    # SUBSCRIBE and UNSUBSCRIBE

    def subscribe(self, packet: Subscribe) -> None:
        """Subscribe, tell what was granted, and send what is retained."""
        if packet.properties.subscription_identifier:
            sentence = "Subscription identifiers are not available here."
            raise MqttError(Reason.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, sentence)
        self._check_room(SubAck(packet.packet_id, (0,) * len(packet.subscriptions)))
        self._session.settle()
        known = [self._subscriptions.has(each.filter) for each in packet.subscriptions]
        reasons = tuple([self._subscriptions.add(each) for each in packet.subscriptions])
        self._follow_channels(self._taken_in([each.filter for each in packet.subscriptions]))
        self._follow_messages()
        self._reader.reply_bytes(encode(SubAck(packet.packet_id, reasons), self._responses.version))
        for each, reason, was_known in zip(packet.subscriptions, reasons, known, strict=True):
            if reason < 0x80 and (each.retain_handling == 0 or (each.retain_handling == 1 and not was_known)):
                self._reader.wait_for_room(self._shared.chat.limits.backlog)  # a packet may have very many filters
                for topic, payload in self._shared.retained.messages(each.filter):
                    self._reader.reply_bytes(self._responses.message(topic, payload, retain=True))

    def unsubscribe(self, packet: Unsubscribe) -> None:
        """Unsubscribe; what is on its way still comes."""
        self._check_room(UnsubAck(packet.packet_id, (0,) * len(packet.filters)))
        reasons = tuple([self._subscriptions.remove(each) for each in packet.filters])
        self._refresh(self._taken_in(packet.filters))
        if self.expiry != 0:
            self._save(until=None)
        self._reader.reply_bytes(encode(UnsubAck(packet.packet_id, reasons), self._responses.version))

    def _check_room(self, answer: SubAck | UnsubAck) -> None:
        """Raises MqttError for a packet whose answer would be too large for the client ([MQTT-3.1.2-24])."""
        if not self._responses.fits(encode(answer, self._responses.version)):
            raise MqttError(Reason.PACKET_TOO_LARGE, "The answer is over your Maximum Packet Size.")

    def _taken_in(self, filters: Sequence[str]) -> list[Log]:
        """The channels that these filters may concern: to look at all of them each time would take long."""
        chat = self._shared.chat
        names = {self._shared.topics.channel_in(each) for each in filters}
        if "+" in names:
            return chat.all_channels()
        return [log for log in [chat.channel(name) for name in names] if log is not None]

    def _follow_channels(self, concerned: Sequence[Log]) -> None:
        """Read the channels that are subscribed to, from now on; a session that is kept keeps from where on."""
        logs = [log for log in concerned if self._subscriptions.encoding_of(log) is not None]
        if self.expiry != 0:
            sent = self._reader.sent()
            fresh = [log for log in logs if not self._reader.acknowledges(log)]
            self._shared.chat.store.move({(log.row.id, self._key): sent.get(log.row.id, log.tail) for log in fresh}, {})
            self._save(until=None)
        self._refresh(logs)
        for log in logs:
            self._reader.follow(log, log.tail)

    def _refresh(self, channels: Sequence[Log]) -> None:
        """Read these channels, and direct conversations, as the subscriptions have them now, or no more."""
        changed = set(channels)
        for log in self._reader.followed():
            if log.channel is None or log in changed:
                self._reader.refresh(log)

    def _follow_messages(self) -> None:
        """Read direct conversations from where the user has acknowledged them: all that was kept."""
        user, chat = self._session.user, self._shared.chat
        assert user is not None
        waiting = [
            membership
            for membership in chat.store.memberships(user.key)
            if membership.log.kind == "direct"
            and not self._reader.follows(chat.log(membership.log))
            and self._subscriptions.encoding_of(chat.log(membership.log)) is not None
        ]
        catch_up(self._session, user, waiting, {})
