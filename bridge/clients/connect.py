"""Floor 3: CONNECT: whose name a client takes, what its will may be, and what it is told in return."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from channels import accounts
from store import Account
from wire import VERSION
from wire.errors import Refused
from wire.frames import Msg, Say
from wire.limits import Limits
from wire.mqtt import V5, ConnAck, Connect, MqttError, Properties, Reason, encode
from wire.names import NAME, fold
from wire.topics import Gone, LiveMessage, Topics

from .shared import SharedState
from .wills import LastWill

TOPIC_ALIASES = 64  # that a client may use (5 §3.2.2.3.8)
CLIENT_ID = 256  # characters of the longest client id


@dataclass(frozen=True, slots=True)
class Login:
    """Whose name a client takes: `me` is how the client writes it, `proven` whether its password fitted.

    `client_id` is the one that it goes by, in a form without slashes; `assigned` if it was made here.
    """

    account: Account
    me: str
    client_id: str
    proven: bool = False
    assigned: str = ""

    @property
    def key(self) -> str:
        """Of what the server keeps for this client of this user."""
        return f"{self.account.key}/{self.client_id}"


def log_in(shared: SharedState, packet: Connect, address: str) -> Login:
    """Whose name the client takes. Raises MqttError."""
    if packet.properties.authentication_method is not None:
        raise MqttError(Reason.BAD_AUTHENTICATION_METHOD, "Log in with user name and password.")
    if len(packet.client_id) > CLIENT_ID:
        raise MqttError(Reason.CLIENT_IDENTIFIER_NOT_VALID, f"A client id has at most {CLIENT_ID} characters here.")
    assigned = "" if packet.client_id else f"auto-{secrets.token_hex(8)}"
    client_id = quote(packet.client_id or assigned, safe="")
    if packet.username is None:
        account, me = _guest(shared, client_id, address)
        return Login(account, me, client_id, False, assigned)
    if not NAME.fullmatch(packet.username):
        sentence = "The user name is your name: 1 to 32 letters, digits, - and _."
        raise MqttError(Reason.BAD_USER_NAME_OR_PASSWORD, sentence)
    account = shared.chat.store.open_account(packet.username)
    if account.password is None:
        return Login(account, packet.username, client_id, False, assigned)
    password = (packet.password or b"").decode(errors="replace")
    if not accounts.fits(password, account.password):
        sentence = f"{account.name} is registered, and that is not the password."
        raise MqttError(Reason.BAD_USER_NAME_OR_PASSWORD, sentence)
    return Login(account, packet.username, client_id, True, assigned)


def _guest(shared: SharedState, client_id: str, address: str) -> tuple[Account, str]:
    """A name for a client that gave none: its client id if that is a free name, or else a new one."""
    if NAME.fullmatch(client_id):
        key = fold(client_id)
        if shared.chat.directory.find(key) is None or may_take_over(shared, f"{key}/{client_id}", address):
            account = shared.chat.store.open_account(client_id)
            if account.password is None:
                return account, client_id
    name = f"guest-{secrets.token_hex(4)}"
    return shared.chat.store.open_account(name), name


def may_take_over(shared: SharedState, key: str, address: str) -> bool:
    """Whether a client that proves nothing is the one that is connected under that key, which the network lost.

    It has to come from the same machine: whoever else knows a guest's name and client id is not that guest.
    """
    old = shared.registry.find(key)
    return old is not None and old.address == address


def last_will(topics: Topics, packet: Connect, me: str, limits: Limits) -> LastWill | None:
    """The will, held to the rules of a PUBLISH at CONNECT already. Raises MqttError."""
    will = packet.will
    if will is None:
        return None
    try:
        if len(will.payload) > limits.line:
            raise Refused("too-long", f"A message has at most {limits.line} bytes.")
        request = topics.request(will.topic, will.payload, me)
        if isinstance(request, Say | Msg) and not request.text.strip():
            raise Refused("empty", "There is no text to send.")
        if not isinstance(request, Say | Msg | LiveMessage | Gone):
            raise Refused("not-allowed", "It can say something, or that you are gone.")
    except Refused as refused:
        raise MqttError(Reason.NOT_AUTHORIZED, f"The will: {refused.sentence}") from refused
    if isinstance(request, LiveMessage):
        request = LiveMessage(
            request.to, request.payload, msgspec.structs.replace(will.properties, will_delay_interval=None)
        )
    return LastWill(request, will.properties.will_delay_interval or 0)


def expiry(packet: Connect, limits: Limits) -> int:
    """Seconds that the session is kept (3.1.1 §3.1.2.4; 5 §3.1.2.11.2)."""
    if packet.version != V5:
        return 0 if packet.clean else longest(limits)
    return min(packet.properties.session_expiry_interval or 0, longest(limits))


def longest(limits: Limits) -> int:
    """Seconds that any session is kept after its connection. What does not expire would only ever grow in number."""
    return limits.session_days * 86_400


def welcome(topics: Topics, packet: Connect, login: Login, limits: Limits, *, present: bool) -> bytes:
    """The CONNACK that accepts: a client of MQTT 5 is told what there is not, and what it asked for.

    Raises MqttError if the client's Maximum Packet Size has no room for it ([MQTT-3.1.2-24]).
    """
    if packet.version != V5:
        return encode(ConnAck(0, present), packet.version)
    kept = expiry(packet, limits)
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
