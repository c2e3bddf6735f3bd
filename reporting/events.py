"""Floor 0: every event of the operator's log: its code, its level, its sentence and its fields.

A code is stable: filters such as fail2ban's match it. A sentence has no `=`, no quotation mark and nothing of a peer;
what a peer has sent is a field only. `address` is the peer's IP address, and always the first field. A field that is
empty or None is left out. No field is for a password, a token, or the text of a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from logging import ERROR, INFO, WARNING
from typing import ClassVar

import msgspec

from .values import Value, as_text


class Event(msgspec.Struct):
    """One event. The tag of a subclass is its code; its docstring says when it is reported."""

    LEVEL: ClassVar[int] = INFO
    SENTENCE: ClassVar[str] = ""

    @property
    def code(self) -> str:
        """The stable code."""
        return str(self.__struct_config__.tag)

    @property
    def source(self) -> str:
        """The address that has caused it; empty if none has."""
        return str(getattr(self, "address", ""))

    def fields(self) -> Iterator[tuple[str, Value]]:
        """Yield the names and values of the fields that have a value."""
        for name, value in msgspec.structs.asdict(self).items():
            if value is not None and value != "":
                yield name, value

    def __str__(self) -> str:
        """Return `code: Sentence. key=value …`, one line of printable ASCII."""
        fields = [f"{name}={as_text(value)}" for name, value in self.fields()]
        return " ".join([f"{self.code}: {self.SENTENCE}", *fields])


# The program


class Started(Event, tag="start"):
    """The server serves clients. `mqtt_listening` is the second port."""

    SENTENCE: ClassVar[str] = "The server is ready."
    version: str
    listening: str
    mqtt_listening: str = ""
    data: str = ""
    database: str = ""


class Stopped(Event, tag="stop"):
    """The server has ended in order."""

    SENTENCE: ClassVar[str] = "The server has stopped."


class FewDescriptors(Event, tag="few-descriptors"):
    """The system allows fewer open files than `limits.connections` and `limits.open_files` need."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "The system allows too few open files for the configured number of connections."
    open_files: int
    connections: int  # for which they are enough


class MqttPortTaken(Event, tag="mqtt-port-taken"):
    """The usual port of MQTT could not be opened, so MQTT devices can use the main port only."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "The port for MQTT devices could not be opened. They can use the main port."
    error: str


class CertificateLoaded(Event, tag="certificate-loaded"):
    """The server uses a TLS certificate from now on: at the start, and after SIGHUP."""

    SENTENCE: ClassVar[str] = "New connections get this TLS certificate."
    file: str
    fingerprint: str = ""  # SHA-256
    expires: str = ""


class CertificateExpires(Event, tag="certificate-expires"):
    """The server has loaded a certificate that expires within a month, or has expired."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "The TLS certificate expires soon, or has expired. Renew it."
    file: str
    expires: str


class CertificateRejected(Event, tag="certificate-rejected"):
    """A certificate could not be loaded after SIGHUP."""

    LEVEL: ClassVar[int] = ERROR
    SENTENCE: ClassVar[str] = "The TLS certificate could not be loaded. The earlier one stays in use."
    file: str
    error: str


class ExposedPassword(Event, tag="exposed-password"):
    """A password is on the command line of the server, where other users of the machine can see it."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = (
        "Other users of this machine can see a password on the command line. Use the config, a password file, or an "
        "environment variable."
    )
    option: str


class InternalError(Event, tag="internal-error"):
    """A mistake in the server; a traceback follows. `address` is that of the connection that it has ended, if any."""

    LEVEL: ClassVar[int] = ERROR
    SENTENCE: ClassVar[str] = "The server made a mistake."
    address: str = ""
    part: str = ""  # of the server
    consequence: str = ""


class Repeated(Event, tag="repeated"):
    """The end of a minute in which an address caused more lines of one event than `limits.log_lines`.

    `address` is absent if the lines were from many addresses.
    """

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "More events of this kind were counted and not logged in the last minute."
    address: str
    of: str  # the code
    count: int


# Connections


class RefusedConnection(Event, tag="refused-connection"):
    """A connection was turned away before its first byte. `reason` is an error code of the protocol."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "A connection was refused."
    address: str
    reason: str


class BadProxyHeader(Event, tag="bad-proxy-header"):
    """A connection from an address of the setting `proxies` did not begin with a header of the PROXY protocol.

    `address` is that of the proxy.
    """

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "A proxy sent no valid header of the PROXY protocol. Its connection was closed."
    address: str
    error: str


class WrongProtocol(Event, tag="wrong-protocol"):
    """The first bytes of a connection belong to no protocol of the port. `saw` names what they look like."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "A connection speaks a protocol that this port does not serve."
    address: str
    saw: str


class CutOff(Event, tag="cut-off"):
    """The server has ended a connection. `reason` is an error code of the protocol, `detail` what the peer was told.

    The reason `timed-out` is for a machine that has vanished from the network.
    """

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "The server ended a connection."
    address: str
    user: str
    protocol: str
    reason: str
    detail: str = ""


class AcceptFailed(Event, tag="accept-failed"):
    """The system gives the server no more connections."""

    LEVEL: ClassVar[int] = ERROR
    SENTENCE: ClassVar[str] = "The server could not accept a connection."
    error: str


class ThreadFailed(Event, tag="thread-failed"):
    """The system gives the server no thread for a connection, which is refused."""

    LEVEL: ClassVar[int] = ERROR
    SENTENCE: ClassVar[str] = "The server could not start a thread for a connection."
    address: str
    error: str


class HashProcessFailed(Event, tag="hash-process-failed"):
    """A process that hashes passwords could not be started, or has ended twice during one hash."""

    LEVEL: ClassVar[int] = ERROR
    SENTENCE: ClassVar[str] = "The server hashed a password by itself, which may have held up the chat."
    error: str


class SocketFailed(Event, tag="socket-failed"):
    """A connection has failed in an unusual way."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "A connection failed."
    address: str
    error: str


class UntrustedCertificate(Event, tag="untrusted-certificate"):
    """A client has refused the server's certificate by an alert of TLS, such as `unknown_ca` or `bad_certificate`."""

    SENTENCE: ClassVar[str] = "A client does not trust the certificate of the server."
    address: str
    alert: str


class LateConnections(Event, tag="late-connections"):
    """Connections that did not end in time when the server stopped."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "Connections that did not end in time were cut."
    connections: int


# Logins


class LoggedIn(Event, tag="login"):
    """A user has logged in.

    A client of the embedded broker logs in there by `embedded`, and into the chat by `broker` with its first message.
    """

    SENTENCE: ClassVar[str] = "A user logged in."
    address: str
    user: str
    protocol: str
    tls: bool
    registered: bool | None
    client: str = ""  # client id of MQTT


class LoggedOut(Event, tag="logout"):
    """A connection of a user has ended."""

    SENTENCE: ClassVar[str] = "A user's connection ended."
    address: str
    user: str
    protocol: str


class TakenOver(Event, tag="taken-over"):
    """A login has ended an earlier connection of the same guest or of the same MQTT client, at `old_address`."""

    SENTENCE: ClassVar[str] = "A new connection took over from an earlier one."
    address: str
    user: str
    old_address: str


class WrongPassword(Event, tag="wrong-password"):
    """A password was wrong. `user` is the name that it was for."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "A password was wrong."
    address: str
    user: str
    protocol: str


class PasswordDelayed(Event, tag="password-delayed"):
    """A password was not looked at yet, because too many were wrong."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "A password has to wait, since too many were wrong."
    address: str
    user: str
    protocol: str
    seconds: float


class RefusedLogin(Event, tag="refused-login"):
    """A login was refused for another reason than a password. `reason` is an error code of the protocol."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "A login was refused."
    address: str
    user: str
    protocol: str
    reason: str
    detail: str = ""


class Registered(Event, tag="registered"):
    """A user has bound the name to a password, or has changed that password."""

    SENTENCE: ClassVar[str] = "A user set a password."
    address: str
    user: str
    protocol: str


# Requests


class RefusedRequest(Event, tag="refused-request"):
    """A peer asked for what it may not do. Reported once for each connection and kind of request."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "A request is not allowed."
    address: str
    user: str
    protocol: str
    request: str
    detail: str = ""


class RefusedWill(Event, tag="refused-will"):
    """An MQTT client logs in with a will that it may not have."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "The will of an MQTT client was refused."
    address: str
    user: str
    protocol: str
    detail: str


class LimitReached(Event, tag="limit-reached"):
    """A peer has reached a limit. Reported once for each connection and limit."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "A connection reached a limit."
    address: str
    user: str
    protocol: str
    limit: str  # the error code of the refusal, or the name of the limit in the config
    detail: str = ""


class WillFailed(Event, tag="will-failed"):
    """The will of a client that has gone was not published."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "A will was not published."
    address: str
    user: str
    error: str


# The store


class StoreFailing(Event, tag="store-failing"):
    """The store does not take what the server writes; posts are refused. Reported once until it works again."""

    LEVEL: ClassVar[int] = ERROR
    SENTENCE: ClassVar[str] = "The store fails. Messages are refused until it works again."
    error: str


class StoreRecovered(Event, tag="store-recovered"):
    """The store works again. `refused` is the number of messages refused meanwhile, because of `error` at first.

    If the disk is full that has the log, too, this is the only line.
    """

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "The store works again."
    refused: int
    error: str


class StoreProblem(Event, tag="store-problem"):
    """One operation of the store has failed. `consequence` says what it means."""

    LEVEL: ClassVar[int] = ERROR
    SENTENCE: ClassVar[str] = "The store could not do something."
    error: str
    consequence: str = ""


class DatabaseLost(Event, tag="database-lost"):
    """The PostgreSQL database cannot be reached. Reported once until it can be reached again."""

    LEVEL: ClassVar[int] = ERROR
    SENTENCE: ClassVar[str] = "The database cannot be reached. The server tries again whenever it needs it."
    database: str
    error: str


class DatabaseReached(Event, tag="database-reached"):
    """The database can be reached again."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "The database can be reached again."
    database: str


class FileFailed(Event, tag="file-failed"):
    """The bytes of a file could not be written."""

    LEVEL: ClassVar[int] = ERROR
    SENTENCE: ClassVar[str] = "The bytes of a file could not be written."
    file: str
    error: str


# Other brokers


class MirrorConnected(Event, tag="mirror-connected"):
    """The mirror is connected to its broker. `behind` is the number of entries to publish."""

    SENTENCE: ClassVar[str] = "The mirror is connected to its broker."
    broker: str
    version: str
    behind: int


class MirrorTaken(Event, tag="mirror-taken"):
    """This server runs the mirror from now on, in place of another one on the same database."""

    SENTENCE: ClassVar[str] = "This server runs the mirror from now on."
    broker: str


class MirrorDisconnected(Event, tag="mirror-disconnected"):
    """The mirror is not connected to its broker. Reported once for each reason, not for each attempt."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "The mirror is not connected to its broker."
    broker: str
    error: str


class MirrorRefused(Event, tag="mirror-refused"):
    """The broker does not allow the mirror something that it needs."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "The broker does not allow the mirror something."
    broker: str
    error: str


class MirrorSessionLost(Event, tag="mirror-session-lost"):
    """The broker has not kept the mirror's session."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "Messages published at the broker while the mirror was disconnected are lost."
    broker: str


class MirrorUserDropped(Event, tag="mirror-user-dropped"):
    """A client of the broker who was present when the server stopped cannot be so again."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "A user of the broker could not be restored."
    user: str
    error: str


_BROKER_NOTICE = (
    "The embedded broker is for a trusted network. It speaks MQTT 3.1.1 without TLS, handles some thousand messages a "
    "second and keeps nothing over a restart. For more, run Mosquitto, EMQX, NATS or RabbitMQ."
)


class BrokerNotice(Event, tag="broker-notice"):
    """The embedded broker starts, and only this machine can reach it: what it is not made for."""

    SENTENCE: ClassVar[str] = _BROKER_NOTICE
    broker: str


class BrokerExposed(Event, tag="broker-exposed"):
    """The embedded broker starts, and other machines can reach it."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = _BROKER_NOTICE
    broker: str


class BrokerReady(Event, tag="broker-ready"):
    """The embedded broker serves clients."""

    SENTENCE: ClassVar[str] = "The embedded broker is ready."
    broker: str


class BrokerEnded(Event, tag="broker-ended"):
    """The embedded broker has ended by itself, and is started again."""

    LEVEL: ClassVar[int] = WARNING
    SENTENCE: ClassVar[str] = "The embedded broker ended. The server restarts it."
    error: str


class Message(Event, tag="message"):
    """A library has written to the log."""

    SENTENCE: ClassVar[str] = "A library reports something."
    library: str
    text: str


ALL: tuple[type[Event], ...] = tuple(Event.__subclasses__())
