"""Floor 4: the link that speaks MQTT, to Partyline or to a broker that mirrors it.

CONNECT has the name and the password of the state's `hello`. If the broker refuses them, the link connects again with
the next `hello`; to a person, that is one connection.

The link speaks MQTT 5. It changes to 3.1.1 if the broker refuses that version by CONNACK. A broker that closes the
connection instead, or says nothing, may have been killed: then the link tries 3.1.1 for this one connection, unless the
broker has accepted MQTT 5 before.
"""

from __future__ import annotations

import itertools
import secrets
import select
import time
from collections.abc import Sequence

from paho.mqtt.enums import MQTTProtocolVersion

from wire.errors import WRONG_PASSWORD, PeerError
from wire.frames import Closing, Error, Hello
from wire.mqtt import Reason
from wire.topics import ROOT, Gone, Topics

from ..endpoint import Endpoint
from ..link import Deliver, Disconnected, Link, Received, connect_failure
from .connection import V5, V311, PahoConnection
from .conversation import MqttConversation
from .events import (
    Accepted,
    Acknowledged,
    ConnectionEnded,
    ConnectionEvent,
    ConnectRefused,
    Message,
    Subscribed,
)

_ANSWER = 5.0  # seconds for CONNACK; some brokers of 3.1.1 do not answer a CONNECT of MQTT 5
_LEAVING = 1.0  # seconds that the broker may take to close the connection


class MqttLink(Link):
    """The link to a broker.

    The client id belongs to this process: while it runs, the broker keeps messages for it. With a client id for each
    name, two terminals of one user would take over each other's session, and anyone could take over a guest's name.
    """

    def __init__(self, endpoints: Sequence[Endpoint], root: str, deliver: Deliver) -> None:
        """`root` is the topic root; empty for the default."""
        super().__init__(endpoints, deliver)
        self._topics = Topics(root or ROOT)
        self._process = secrets.token_hex(8)
        self._lacks_5: set[Endpoint] = set()  # brokers that have refused MQTT 5
        self._speaks_5: set[Endpoint] = set()  # brokers that have accepted it
        self._numbers = itertools.count(1)  # never repeated, as an answer may come on a later connection
        self._conversation: MqttConversation | None = None  # since the broker accepted the connection

    def _dial(self, endpoint: Endpoint) -> tuple[bool, Disconnected]:
        self._begin(endpoint)
        while (hello := self._next_hello()) is not None:
            version = V311 if endpoint in self._lacks_5 else V5
            outcome = self._connect(endpoint, hello, version)
            if version == V5 and self._may_lack_5(endpoint, outcome):
                outcome = self._connect(endpoint, hello, V311)
            if not isinstance(outcome, ConnectRefused):
                return outcome
            self._deliver(Received([_error(outcome, hello)]))
        return False, Disconnected("dropped")

    def _may_lack_5(self, endpoint: Endpoint, outcome: ConnectRefused | tuple[bool, Disconnected]) -> bool:
        """Return True if this end of a connection by MQTT 5 may mean that the broker does not know MQTT 5."""
        if isinstance(outcome, ConnectRefused):
            if outcome.code != Reason.UNSUPPORTED_PROTOCOL_VERSION:
                return False
            self._lacks_5.add(endpoint)
            return True
        return outcome[1].reached and self._conversation is None and not (endpoint in self._speaks_5 or self._given_up)

    def _next_hello(self) -> Hello | None:
        """Wait for the state's `hello`; None after `drop` or `stop`."""
        while not self._given_up:
            for frame in self._take_outgoing():
                if isinstance(frame, Hello):
                    return frame
            select.select([self._wake_reader], [], [])
            self._clear_wake()
        return None

    def _connect(
        self, endpoint: Endpoint, hello: Hello, version: MQTTProtocolVersion
    ) -> ConnectRefused | tuple[bool, Disconnected]:
        """Run one connection. Return its refusal, or whether the server has welcomed us and why it ended."""
        client_id = f"partyline-{hello.name}-{self._process}"
        connection = PahoConnection(client_id, version, endpoint.tls, self._attempt_seconds)
        self._conversation = None
        try:
            will, _ = self._topics.ask(Gone(), hello.name)
            connection.connect(endpoint.host, endpoint.port, hello.name, hello.password, will)
        except (OSError, UnicodeError) as error:
            return False, Disconnected(connect_failure(error), reached=False)
        try:
            return self._run_connection(connection, hello) or self._ended("dropped")
        except PeerError as error:
            return self._ended(error.sentence)
        except Exception as error:  # noqa: BLE001 - an error of paho: this connection is lost, and the next one may work
            return self._ended(_reason(error))
        finally:
            connection.close()

    def _ended(self, reason: str) -> tuple[bool, Disconnected]:
        return self._conversation is not None and self._conversation.welcomed, Disconnected(reason)

    def _run_connection(self, connection: PahoConnection, hello: Hello) -> ConnectRefused | None:
        """Send and receive until `drop` or `stop`. Raises OSError or PeerError when the connection ends by itself."""
        began = time.monotonic()
        while not self._given_up:
            patience = began + _ANSWER - time.monotonic()
            if self._conversation is not None:
                patience = self._exchange(self._conversation, connection)
            elif patience <= 0:
                raise TimeoutError("the server does not answer CONNECT")
            for event in connection.wait(self._wake_reader, patience):
                if isinstance(event, ConnectRefused):
                    return event
                self._handle(event, connection, hello)
            self._clear_wake()
        return None

    def _exchange(self, conversation: MqttConversation, connection: PahoConnection) -> float:
        """Pass frames on in both directions. Return the seconds until something may be due."""
        now = time.monotonic()
        for frame in self._take_outgoing():
            conversation.ask(frame, now)
        conversation.go_on(now)
        self._deliver_frames(conversation)
        if conversation.finished:
            connection.disconnect(_LEAVING)
            raise ConnectionError("Goodbye.")
        return conversation.patience(now)

    def _deliver_frames(self, conversation: MqttConversation) -> None:
        if frames := conversation.take_frames():
            self._deliver(Received(frames))

    def _handle(self, event: ConnectionEvent, connection: PahoConnection, hello: Hello) -> None:
        now, conversation = time.monotonic(), self._conversation
        match event:
            case Accepted():
                if connection.version == V5:
                    self._speaks_5.add(self.endpoint)
                self._conversation = MqttConversation(
                    connection, self._topics, hello, self._process, self._numbers, now
                )
            case ConnectionEnded():
                if conversation is not None:
                    self._deliver_frames(conversation)
                if event.code == Reason.SESSION_TAKEN_OVER:
                    self._deliver(Received([Closing(reason="You have connected from elsewhere.", code="replaced")]))
                raise ConnectionError(event.reason)
            case _ if conversation is None:
                raise ConnectionError("the server sent a packet before CONNACK")
            case Message():
                conversation.received(event, now)
            case Acknowledged():
                conversation.acknowledged(event.packet_id, event.refusal, now)
            case Subscribed():
                conversation.subscribed(event.packet_id, event.granted, now)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {error}"


def _error(refused: ConnectRefused, hello: Hello) -> Error:
    """The answer to `hello` for a CONNACK that refuses.

    The reason code alone does not say whether a name is taken or needs a password; Partyline's sentence does. A broker
    with its own passwords has the reason "bad user name or password", or "not authorized" without a sentence.
    """
    code, sentence = "not-allowed", refused.sentence
    if refused.code == Reason.BAD_USER_NAME_OR_PASSWORD or (refused.code == Reason.NOT_AUTHORIZED and not sentence):
        code = "need-password" if hello.password is None else "wrong-password"
        sentence = WRONG_PASSWORD
        if hello.password is None:
            sentence = f"{hello.name} needs a password."
    elif refused.code == Reason.NOT_AUTHORIZED:
        code = "name-taken"
    elif not sentence:
        sentence = f"The server refuses the login: {Reason(refused.code).words}."
    return Error(code=code, error=sentence, ref=hello.ref)
