"""Floor 3: SUBSCRIBE and UNSUBSCRIBE: what one client reads from now on, the answers, and the retained messages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from channels import REQUESTS, SUBSCRIPTIONS, Log, Session, catch_up
from wire.mqtt import MqttError, Properties, Reason, SubAck, Subscribe, UnsubAck, Unsubscribe, encode

from .delivery import MqttReader
from .responses import Responses
from .session_state import SessionState
from .shared import SharedState
from .subscriptions import Subscriptions

# The error code of a reason to refuse a filter, for the operator's log.
_ERROR_CODES: dict[int, str] = {
    Reason.NOT_AUTHORIZED: "not-allowed",
    Reason.QUOTA_EXCEEDED: "quota",
    Reason.TOPIC_FILTER_INVALID: "too-long",
}
_RETAINED = 10  # retained messages that count as one request
_FAILURE = 0x80  # the lowest reason that refuses a filter (§3.9.3)


class SubscribeHandler:
    """Handles the packets of one connection. Called by the connection's own thread only."""

    __slots__ = ("_reader", "_responses", "_session", "_shared", "_state", "_subscriptions")

    def __init__(
        self,
        shared: SharedState,
        session: Session,
        reader: MqttReader[Log],
        subscriptions: Subscriptions,
        state: SessionState,
        responses: Responses,
    ) -> None:
        self._shared = shared
        self._session = session
        self._reader = reader
        self._subscriptions = subscriptions
        self._state = state
        self._responses = responses

    def subscribe(self, packet: Subscribe) -> None:
        """Subscribe, answer with what was granted, and send the retained messages that match. Raises MqttError."""
        if packet.properties.subscription_identifier:
            sentence = "Subscription identifiers are not available here."
            raise MqttError(Reason.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, sentence)
        self._session.check_rate(SUBSCRIPTIONS)
        self._check_size(SubAck(packet.packet_id, (0,) * len(packet.subscriptions)))
        self._session.settle()
        before = {each.filter: self._subscriptions.get(each.filter) for each in packet.subscriptions}
        reasons = tuple([self._subscriptions.add(each) for each in packet.subscriptions])
        for each, reason in zip(packet.subscriptions, reasons, strict=True):
            if reason in _ERROR_CODES:
                self._session.report.refused("subscribe", _ERROR_CODES[reason], each.filter)
        changed = [name for name, was in before.items() if self._subscriptions.get(name) != was]
        if changed:  # to subscribe again to the same costs only the answer
            with self._session.turn:
                self._follow_channels(changed)
                self.follow_private_logs()
        self._reader.reply_bytes(self._suback(packet.packet_id, reasons))
        self._send_retained([
            each.filter
            for each, reason in zip(packet.subscriptions, reasons, strict=True)
            if reason < _FAILURE
            and (each.retain_handling == 0 or (each.retain_handling == 1 and before[each.filter] is None))
        ])  # fmt: skip

    def _suback(self, packet_id: int, reasons: tuple[int, ...]) -> bytes:
        """Return the answer, with the limit that has refused a filter, if the client takes a sentence."""
        sentences = [sentence for reason in sorted(set(reasons)) if (sentence := self._subscriptions.sentence(reason))]
        if sentences and self._responses.explains:
            properties = Properties(reason_string=" ".join(sentences))
            packet = encode(SubAck(packet_id, reasons, properties), self._responses.version)
            if self._responses.fits(packet):  # [MQTT-3.9.2-1]
                return packet
        return encode(SubAck(packet_id, reasons), self._responses.version)

    def _send_retained(self, filters: Sequence[str]) -> None:
        """Send each retained message that a filter matches, once. A client that does not read is not read either.

        Some of them count like a request: there may be as many as users.
        """
        messages = self._shared.retained.messages(filters)
        while True:
            with self._session.turn:
                some = [self._responses.message(*each, retain=True) for each in islice(messages, _RETAINED)]
            if not some:
                return
            self._session.check_rate(REQUESTS)
            self._reader.reply_bytes(b"".join(some))
            self._reader.wait_for_room(self._shared.chat.limits.backlog)

    def unsubscribe(self, packet: Unsubscribe) -> None:
        """Unsubscribe and answer. What was sent before that still arrives. Raises MqttError."""
        self._session.check_rate(SUBSCRIPTIONS)
        self._check_size(UnsubAck(packet.packet_id, (0,) * len(packet.filters)))
        reasons = tuple([self._subscriptions.remove(each) for each in packet.filters])
        removed = [each for each, reason in zip(packet.filters, reasons, strict=True) if reason == Reason.SUCCESS]
        self._refresh(self._channels_of(removed))
        self._state.save_filters(removed)
        self._reader.reply_bytes(encode(UnsubAck(packet.packet_id, reasons), self._responses.version))

    def _check_size(self, answer: SubAck | UnsubAck) -> None:
        """Raise MqttError if an answer of this size exceeds the client's Maximum Packet Size ([MQTT-3.1.2-24])."""
        if not self._responses.fits(encode(answer, self._responses.version)):
            raise MqttError(Reason.PACKET_TOO_LARGE, "The answer is over your Maximum Packet Size.")

    def _channels_of(self, filters: Sequence[str]) -> list[Log]:
        """Return the channels that these filters may match: to look at all channels for each packet would take long."""
        return self._shared.channels_named({self._shared.topics.channel_in(each) for each in filters})

    def _follow_channels(self, changed: Sequence[str]) -> None:
        """Read the channels that these filters match: a new one from now on."""
        channels = [log for log in self._channels_of(changed) if self._subscriptions.encoding_of(log) is not None]
        self._state.save_starts(channels)
        self._state.save_filters(changed)
        self._refresh(channels)
        for log in channels:
            self._reader.follow(log, log.tail)

    def _refresh(self, channels: Sequence[Log]) -> None:
        """Read these channels and all private logs as the subscriptions have them now, or stop reading them."""
        changed = set(channels)
        for log in self._reader.followed():
            if log.channel is None or log in changed:
                self._reader.refresh(log)

    def follow_private_logs(self) -> None:
        """Read the private logs that a subscription matches, from where the user has acknowledged them."""
        user, chat = self._session.user, self._shared.chat
        assert user is not None
        memberships = [] if self._subscriptions.empty else chat.store.memberships(user.key)
        unread = [
            membership
            for membership in memberships
            if not membership.log.is_channel
            and not self._reader.follows(chat.log(membership.log))
            and self._subscriptions.encoding_of(chat.log(membership.log)) is not None
        ]
        catch_up(self._session, user, unread, {})
