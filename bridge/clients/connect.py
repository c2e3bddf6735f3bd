"""Floor 3: CONNECT: the name that a client logs in with, its will, and the CONNACK that accepts it."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from urllib.parse import quote

import msgspec

from channels import LOGINS, REPORTED, Origin, Session, may_try_again, prove, take_name
from store import Account
from wire import VERSION
from wire.errors import Refused
from wire.frames import Msg, Say
from wire.limits import Limits
from wire.mqtt import V5, ConnAck, Connect, MqttError, Properties, Reason, encode
from wire.names import NAME, fold
from wire.topics import LiveMessage, Topics

from .shared import SharedState
from .wills import LastWill

TOPIC_ALIASES = 64  # topic aliases that a client may use (5 §3.2.2.3.8)
CLIENT_ID_LENGTH = 256  # characters
# The reason of a login that was refused. The default is "not authorized". After one of these, a client tries again.
_REASONS: dict[str, Reason] = {
    "rate-limited": Reason.CONNECTION_RATE_EXCEEDED,
    "password-delayed": Reason.CONNECTION_RATE_EXCEEDED,
    "busy": Reason.SERVER_BUSY,
    "need-password": Reason.BAD_USER_NAME_OR_PASSWORD,
    "wrong-password": Reason.BAD_USER_NAME_OR_PASSWORD,
}


@dataclass(frozen=True, slots=True)
class Login:
    """The identity of a client, and its will.

    `me` is the user's name as the client writes it. `client_id` is percent-encoded, so that it has no slash. `assigned`
    is the client id if the server made it, else empty. `proven` is True if the password was verified.
    """

    account: Account
    me: str
    client_id: str
    assigned: str
    proven: bool = False
    will: LastWill | None = None

    @property
    def key(self) -> str:
        """The client's key in the registry and in the store."""
        return f"{self.account.key}/{self.client_id}"


def log_in(shared: SharedState, session: Session, packet: Connect, address: str) -> Login:
    """Log the client in to its session, as the user that it names or as a guest. Raises MqttError.

    While a connection that has ended still holds the name, wait until it is gone; it may have registered the name.
    """
    chat = shared.chat
    deadline = time.monotonic() + chat.limits.login_seconds
    try:
        chat.rates.check(LOGINS, Origin("", session.network))
        while True:
            login = _identify_and_report(shared, session, packet, deadline)
            will = _last_will(shared.topics, packet, login.me, chat.limits, session)
            try:
                token = _token_of_same_client(shared, login, address)
                session.client = login.client_id
                take_name(session, login.account, token, proven=login.proven)
                return replace(login, will=will)
            except Refused as refused:
                if packet.username is None and refused.code == "name-taken":
                    continue  # another connection was faster: a guest gets another name
                if not may_try_again(chat, login.account, refused, deadline):
                    raise
    except Refused as refused:
        if refused.code not in REPORTED:
            session.report.refused_login(_name_of(packet), refused.code, refused.sentence)
        reason = _REASONS.get(refused.code, Reason.NOT_AUTHORIZED)
        raise MqttError(reason, refused.sentence, code=refused.code) from refused


def _name_of(packet: Connect) -> str:
    return packet.client_id if packet.username is None else packet.username


def _identify_and_report(shared: SharedState, session: Session, packet: Connect, deadline: float) -> Login:
    """Return the identity that a CONNECT asks for. Report it if that is refused, and raise MqttError or Refused."""
    try:
        return _identify(shared, session, packet, deadline)
    except MqttError as error:
        session.report.refused_login(_name_of(packet), error.code, error.sentence)
        raise


def _identify(shared: SharedState, session: Session, packet: Connect, deadline: float) -> Login:
    """Return the identity that a CONNECT asks for, after checking its password. Raises MqttError, Refused."""
    if packet.properties.authentication_method is not None:
        raise MqttError(Reason.BAD_AUTHENTICATION_METHOD, "Log in with user name and password.")
    if len(packet.client_id) > CLIENT_ID_LENGTH:
        sentence = f"A client id has at most {CLIENT_ID_LENGTH} characters here."
        raise MqttError(Reason.CLIENT_IDENTIFIER_NOT_VALID, sentence)
    assigned = "" if packet.client_id else f"auto-{secrets.token_hex(8)}"
    client_id = quote(packet.client_id or assigned, safe="")
    if packet.username is None:
        account, me = _guest(shared, session, client_id, deadline)
        return Login(account, me, client_id, assigned)
    if not NAME.fullmatch(packet.username):
        sentence = "The user name must be your name in the chat: 1 to 32 letters, digits, - and _."
        raise MqttError(Reason.BAD_USER_NAME_OR_PASSWORD, sentence, code="bad-name")
    account = shared.chat.open_account(packet.username, session.network)
    if account.password is None:
        return Login(account, packet.username, client_id, assigned)
    if not packet.password:
        raise Refused("need-password", f"The name {account.name} is registered. Log in with its password.")
    try:
        prove(session, account, packet.password.decode(errors="replace"))
    except Refused as refused:
        if refused.code != "wrong-password":
            raise
        sentence = f"The name {account.name} is registered, and the password is wrong."
        raise Refused("wrong-password", sentence) from refused
    return Login(account, packet.username, client_id, assigned, proven=True)


def _guest(shared: SharedState, session: Session, client_id: str, deadline: float) -> tuple[Account, str]:
    """Return account and name of a client that gave no name: its client id if that is a free name, else a new name.

    Raises Refused.
    """
    chat = shared.chat
    if NAME.fullmatch(client_id):
        key = fold(client_id)
        same = _is_same_client(shared, f"{key}/{client_id}", session.address)
        same = same or _is_same_client_elsewhere(shared, key, client_id, session.address)
        if same or chat.directory.wait_until_free(key, deadline - time.monotonic()):
            account = chat.open_account(client_id, session.network)
            if account.password is None:
                return account, client_id
    name = f"guest-{secrets.token_hex(4)}"
    return chat.open_account(name, session.network), name


def _token_of_same_client(shared: SharedState, login: Login, address: str) -> str | None:
    """Return the token of the user that this client is connected as already, unless the name is registered."""
    holder = shared.chat.directory.find(login.account.key)  # first: whoever takes the name later keeps it
    if holder is None or login.account.password is not None or not _is_same_client(shared, login.key, address):
        return None
    return holder.token


def _is_same_client(shared: SharedState, key: str, address: str) -> bool:
    """Return True if the client connected under this key has the same address, so that a lost connection is replaced.

    Another machine that knows a guest's name and client id must not take over that guest.
    """
    connected = shared.registry.find(key)
    return connected is not None and connected.address == address


def _is_same_client_elsewhere(shared: SharedState, key: str, client_id: str, address: str) -> bool:
    """Return True if the client of a user is connected from the same address at another server. Raises StoreError.

    The store is asked, which also decides who gets the name: what other servers have told may be out of date.
    """
    holdings = shared.chat.servers.holdings(key)
    return any(each.client == client_id and each.address == address for each in holdings)


def _last_will(topics: Topics, packet: Connect, me: str, limits: Limits, session: Session) -> LastWill | None:
    """Return the will, which CONNECT holds to the rules of a PUBLISH. Report a wrong one, and raise MqttError."""
    will = packet.will
    if will is None:
        return None
    try:
        if len(will.payload) > limits.line:
            raise Refused("too-long", f"A message has at most {limits.line} bytes.")
        request = topics.request(will.topic, will.payload, me)
        if isinstance(request, Say | Msg) and not request.text.strip():
            raise Refused("empty", "The message has no text.")
        if not topics.may_be_will(will.topic):
            raise Refused("not-allowed", "A will is a post, a live message, or the message that you have left.")
    except Refused as refused:
        session.report.refused_will(me, refused.sentence)
        raise MqttError(Reason.NOT_AUTHORIZED, f"The will: {refused.sentence}", code=refused.code) from refused
    if isinstance(request, LiveMessage):
        request = LiveMessage(
            request.to, request.payload, msgspec.structs.replace(will.properties, will_delay_interval=None)
        )
    delay = will.properties.will_delay_interval or 0
    return LastWill(request, delay, Origin(fold(me), session.network), session.report.address)


def expiry(packet: Connect, limits: Limits) -> int:
    """Return the seconds that the session is kept after its connection (3.1.1 §3.1.2.4; 5 §3.1.2.11.2)."""
    if packet.version != V5:
        return 0 if packet.clean else longest_expiry(limits)
    return min(packet.properties.session_expiry_interval or 0, longest_expiry(limits))


def longest_expiry(limits: Limits) -> int:
    """Return the seconds that any session is kept at most: without a limit, their number would only grow."""
    return limits.session_days * 86_400


def welcome(topics: Topics, packet: Connect, login: Login, limits: Limits, kept: int, *, present: bool) -> bytes:
    """Return the CONNACK that accepts. In MQTT 5 it says what the server does not support, and what the client asked.

    `kept` is how many seconds the session is kept after its connection.

    Raises MqttError if it exceeds the client's Maximum Packet Size ([MQTT-3.1.2-24]).
    """
    if packet.version != V5:
        return encode(ConnAck(0, present), packet.version)
    properties = Properties(
        session_expiry_interval=None if kept == (packet.properties.session_expiry_interval or 0) else kept,
        shared_subscription_available=0,
        subscription_identifier_available=0,
        topic_alias_maximum=TOPIC_ALIASES,
        maximum_packet_size=limits.payload,
        assigned_client_identifier=login.assigned or None,
        response_information=topics.to(login.me) if packet.properties.request_response_information else None,
        user_property=(("name", login.account.name), ("server", f"partyline {VERSION}")),
    )
    bare = msgspec.structs.replace(properties, response_information=None, user_property=())  # [MQTT-3.2.2-20]
    limit = packet.properties.maximum_packet_size
    for each in (properties, bare):
        data = encode(ConnAck(0, present, each), V5)
        if limit is None or len(data) <= limit:
            return data
    raise MqttError(Reason.PACKET_TOO_LARGE, "Your Maximum Packet Size is too small to be answered.")
