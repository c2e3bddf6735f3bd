"""Floor 4: the link that speaks MQTT, for whoever reaches no other port, to Partyline or to a broker that mirrors it.

A line begins with the state's `hello`, whose name and password go into CONNECT. If the broker refuses them, the line
goes on with the next `hello`: to a person, that is one line. MQTT 5 is tried first, then 3.1.1.
"""

from __future__ import annotations

import itertools
import secrets
import select
import ssl
import time

from paho.mqtt.enums import MQTTProtocolVersion

from terminal.links.address import MqttAddress
from terminal.links.link import Deliver, Disconnected, Link, Received
from wire.errors import PeerError
from wire.frames import Closing, Error, Hello
from wire.mqtt import Reason
from wire.topics import ROOT, Gone, Topics

from .connection import V5, V311, Ended, Happening, LetIn, MqttLine, Refusal, Subscribed, Taken
from .conversation import Message, Talk

_ANSWER = 5.0  # seconds for CONNACK; some brokers that only know 3.1.1 say nothing at all to a CONNECT of MQTT 5
_PARTING = 1.0  # seconds that the broker may take to hang up


class MqttLink(Link):
    """The line to a broker.

    The client id belongs to this process: while it runs, the broker keeps for it what comes. A client id for each name
    would let two terminals of one user throw each other out, and anybody take over a guest's name.
    """

    def __init__(self, address: MqttAddress, tls: ssl.SSLContext | None, deliver: Deliver) -> None:
        super().__init__(deliver)
        self._address = address
        self._tls = tls
        self._topics = Topics(address.root or ROOT)
        self._process = secrets.token_hex(8)
        self._version: MQTTProtocolVersion = V5
        self._numbers = itertools.count(1)  # never the same twice: an answer may come on a later line
        self._talk: Talk | None = None  # since we were let in

    def _dial(self) -> tuple[bool, Disconnected]:
        self._begin()
        while (hello := self._next_hello()) is not None:
            outcome = self._connect(hello)
            if isinstance(outcome, Refusal) and outcome.code == Reason.UNSUPPORTED_PROTOCOL_VERSION:
                self._change_version()
                outcome = self._connect(hello)
            if not isinstance(outcome, Refusal):
                return outcome
            self._deliver(Received([_error(outcome, hello)]))
        return False, Disconnected("given up")

    def _change_version(self) -> None:
        self._version = V311 if self._version == V5 else V5

    def _next_hello(self) -> Hello | None:
        """Wait for the state to say who we are; None if the line is given up."""
        while not self._given_up:
            for frame in self._take():
                if isinstance(frame, Hello):
                    return frame
            select.select([self._wake_reader], [], [])
            self._clear_wake()
        return None

    def _connect(self, hello: Hello) -> Refusal | tuple[bool, Disconnected]:
        """One connection: why it was refused; or whether the server has welcomed us, and why the connection ended."""
        line = MqttLine(f"partyline-{hello.name}-{self._process}", self._version, self._tls)
        self._talk = None
        try:
            will, _ = self._topics.ask(Gone(), hello.name)
            line.connect(self._address.host, self._address.port, hello.name, hello.password, will)
        except (OSError, UnicodeError) as error:
            return False, Disconnected(_reason(error), reached=False)
        try:
            return self._hold(line, hello) or self._over("given up")
        except PeerError as error:
            return self._over(error.sentence)
        except Exception as error:  # whatever makes paho stumble: that line is of no use, and there may be another
            return self._over(_reason(error))
        finally:
            line.close()

    def _over(self, reason: str) -> tuple[bool, Disconnected]:
        if self._talk is None and not self._given_up:
            self._change_version()  # not a word: perhaps it does not know this one, perhaps it was on its way down
        return self._talk is not None and self._talk.welcomed, Disconnected(reason)

    def _hold(self, line: MqttLine, hello: Hello) -> Refusal | None:
        """Send and receive until the line is given up. Raises OSError or PeerError when it ends by itself."""
        began = time.monotonic()
        while not self._given_up:
            patience = began + _ANSWER - time.monotonic()
            if self._talk is not None:
                patience = self._go_on(self._talk, line)
            elif patience <= 0:
                raise TimeoutError("no answer to CONNECT")
            for happening in line.turn(self._wake_reader, patience):
                if isinstance(happening, Refusal):
                    return happening
                self._happened(happening, line, hello)
            self._clear_wake()
        return None

    def _go_on(self, talk: Talk, line: MqttLine) -> float:
        """Hand on what there is, in both directions; seconds until there may be something to do again."""
        now = time.monotonic()
        for frame in self._take():
            talk.ask(frame, now)
        talk.go_on(now)
        self._tell(talk)
        if talk.finished:
            line.part(_PARTING)
            raise ConnectionError("Goodbye.")
        return talk.patience(now)

    def _tell(self, talk: Talk) -> None:
        if frames := talk.take():
            self._deliver(Received(frames))

    def _happened(self, happening: Happening, line: MqttLine, hello: Hello) -> None:
        now, talk = time.monotonic(), self._talk
        match happening:
            case LetIn():
                self._talk = Talk(line, self._topics, hello, self._process, self._numbers, now)
            case Ended():
                if talk is not None:
                    self._tell(talk)
                if happening.code == Reason.SESSION_TAKEN_OVER:
                    self._deliver(Received([Closing(reason="You have connected from elsewhere.", code="replaced")]))
                raise ConnectionError(happening.reason)
            case _ if talk is None:
                raise ConnectionError("it speaks before it has let us in")
            case Message():
                talk.heard(happening, now)
            case Taken():
                talk.taken(happening.packet_id, happening.refusal, now)
            case Subscribed():
                talk.subscribed(happening.packet_id, happening.granted, now)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {error}"


def _error(refusal: Refusal, hello: Hello) -> Error:
    """A CONNACK that refuses as the answer to `hello`.

    A reason code does not say whether a name is taken or takes a password; Partyline's sentences do (a broker with
    passwords of its own says "bad user name or password", or "not authorized" without a word more).
    """
    code, sentence = "not-allowed", refusal.sentence
    if refusal.code == Reason.BAD_USER_NAME_OR_PASSWORD or (refusal.code == Reason.NOT_AUTHORIZED and not sentence):
        code = "need-password" if hello.password is None else "wrong-password"
        sentence = f"{hello.name} takes a password." if hello.password is None else "That is not the password."
    elif refusal.code == Reason.NOT_AUTHORIZED:
        code = "name-taken"
    elif not sentence:
        sentence = f"It refuses: {Reason(refusal.code).words}."
    return Error(code=code, error=sentence, ref=hello.ref)
