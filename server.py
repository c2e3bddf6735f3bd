"""Floor 5: the server program: options, config file, wiring, start and stop."""

from __future__ import annotations

import gc
import os
import signal

if __name__ == "__main__":  # the imports take a moment: until main() takes over, a signal ends us silently
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, lambda number, _: os._exit(128 + number))
    gc.disable()  # until main() has set up: imported objects stay, and to look for garbage among them takes a tenth

import argparse
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from admin import SUBCOMMANDS, unknown_subcommand
from bridge.clients import MqttSession, SharedState
from bridge.embedded import BrokerSupervisor
from bridge.mirror import URL_FORMS, BrokerConfig, Mirror, embedded_address, has_password, parse_broker
from channels import Chat
from doors import (
    GREETING,
    Door,
    Proxies,
    ServerLine,
    SpeakerFactory,
    Speakers,
    TlsConfig,
    encode_refusal,
    json_speaker,
    open_tls,
    refuse_tls,
    refuse_unknown,
    text_speaker,
)
from net import (
    NetError,
    flush_standard_streams,
    is_loopback,
    limit_free_memory,
    network_of,
    print_error,
    print_out,
    reachable_address,
)
from reporting import FORMATS, LogFormat, LogLevel, LogOptions, events, open_log, report
from store import Durability, Store, data_folder, open_store, shown_url, url_has_password
from wire import VERSION
from wire.errors import LocalError
from wire.limits import Limits
from wire.mqtt import CONNECT_FIRST_BYTE, V311
from wire.other_protocols import TLS_FIRST_BYTE
from wire.topics import ROOT, Topics

DATABASE_VARIABLE = "PARTYLINE_DATABASE"  # of the environment
PROGRAM = "server.py"  # the name of the command, unless a package has given it another one
MQTT_PORT, MQTTS_PORT = 1883, 8883  # registered with IANA
_PRECEDENCE = "An option takes precedence over the same key of the config file; see partyline.example.yaml."
_DEPTH = 4  # of the settings in the config file, and one more
_NO_PORT = ("none", "off", "no", "false")  # the documentation uses the first

# Settings of a section, and the end of each setting's option.
_BROKER = {"url": "", "ca": "_ca", "cert": "_cert", "key": "_key", "password_file": "_password_file"}
_TLS = {"cert": "_cert", "key": "_key", "required": "_required"}

Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of the config file. An option of the command line takes precedence."""

    host: str = "127.0.0.1"
    port: Port = 7000
    mqtt_port: Port | Literal["none"] | None = None  # None: 1883 if it is free
    mqtts_port: Port | Literal["none"] | None = None  # None: 8883 if it is free; not opened without a certificate
    root: Annotated[str, msgspec.Meta(pattern=r"^[^/#+$][^#+]*[^/#+]$")] = ROOT
    data: str = "data"
    database: str = ""  # a URL, or a folder; empty: in the data folder
    durability: Durability = "process"
    address: str = ""  # where other servers on the same database reach this one; empty: where it listens
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"
    proxies: tuple[str, ...] = ()  # IP addresses and networks whose connections begin with a PROXY header
    tls: TlsConfig = TlsConfig()
    broker: BrokerConfig = BrokerConfig()
    limits: Limits = Limits()

    @property
    def log(self) -> LogOptions:
        """The options of the operator's log."""
        return LogOptions(self.log_format, self.log_level, self.limits.log_lines)


class Server:
    """The store, the chat and the doors, wired.

    `address` is the main port as `host:port`; `mqtt_address` and `mqtts_address` are the ports of MQTT devices, or
    None; `tls` is the certificate, or None.
    """

    def __init__(self, config: Config) -> None:
        proxies = Proxies(config.proxies)
        folder = data_folder(config.data)
        self._wanted_address = config.address
        self.tls = open_tls(config.tls, folder)
        self._store: Store = open_store(config.database or config.data, config.durability, folder=folder)
        try:
            self.chat = Chat(self._store, config.limits)
            self.chat.files.lines.opener = ServerLine
            self._mqtt = SharedState(self.chat, Topics(config.root))
            self._door = Door(self.chat, self.tls, proxies)
            self._embedded: BrokerSupervisor | None = None
            self._mirror: Mirror | None = None
            try:
                self._mirror = self._open_mirror(config)
                speakers = self._speakers()
                self.address = self._door.open(config.host, config.port, speakers)
                # No greeting and no refusal there: MQTT has no packet for either before CONNECT.
                devices = replace(speakers, greeting=b"", refusal=None)
                free = config.port != 0  # a fixed port beside a free one would surprise
                self.mqtt_address = self._open_further(config, config.mqtt_port, MQTT_PORT if free else None, devices)
                self.mqtts_address: str | None = None
                if self.tls is not None:
                    usual = MQTTS_PORT if free else None
                    self.mqtts_address = self._open_further(
                        config, config.mqtts_port, usual, replace(devices, tls_only=True)
                    )
                self._introduce()
            except LocalError:
                self._close_doors()
                self.chat.close()
                raise
        except LocalError:
            self._store.close()
            raise

    def _introduce(self) -> None:
        """Let the other servers know where they reach this one. Raises LocalError."""
        try:
            address = reachable_address(self._wanted_address, self.address)
            of_machine = reachable_address("", f"0.0.0.0:{address.rpartition(':')[2]}")
        except NetError as error:
            raise LocalError(f"The address for other servers is wrong: {error}") from error
        name = address if self._wanted_address else of_machine
        self.chat.introduce(name, address, self.tls.fingerprint if self.tls is not None else "")

    def reload_tls(self) -> None:
        """Use what the certificate's files have now for new connections."""
        if self.tls is None:
            return
        self.tls.reload()
        try:
            self._introduce()
        except LocalError as error:
            report(events.StoreProblem(str(error), "Other servers do not know the new certificate."))

    def _speakers(self) -> Speakers:
        """Return the speakers of the main port."""
        mqtt = partial(MqttSession, self._mqtt)
        by_first_byte: dict[bytes, SpeakerFactory] = {
            b"{": json_speaker,
            bytes((CONNECT_FIRST_BYTE,)): mqtt,
            bytes((TLS_FIRST_BYTE,)): refuse_tls,
        }
        return Speakers(by_first_byte, text_speaker, refuse_unknown, GREETING, encode_refusal)

    def _open_further(
        self, config: Config, port: int | Literal["none"] | None, usual: int | None, speakers: Speakers
    ) -> str | None:
        """Open a port of MQTT devices; without a `port`, the usual one if it is free. Return its address, or None."""
        if port is None:
            port = usual
            if port is None:
                return None
            try:
                return self._door.open(config.host, port, speakers)
            except LocalError as error:
                report(events.MqttPortTaken(str(error)))
                return None
        return None if port == "none" else self._door.open(config.host, port, speakers)

    def _open_mirror(self, config: Config) -> Mirror | None:
        """Start the mirror before the doors open, so that users on the broker hold their names first."""
        wanted = config.broker
        if not wanted.url:
            return None
        where = embedded_address(wanted.url, config.host)
        if where is None:
            there = parse_broker(wanted)
        elif config.tls.required and not is_loopback(where[0]):
            raise LocalError(
                "The embedded broker has no TLS, which tls.required asks for. "
                "Let only this machine use it: --broker embedded://127.0.0.1"
            )
        else:
            self._embedded = BrokerSupervisor(
                *where, config.database or config.data, config.root, log=config.log, limits=config.limits
            )
            self._embedded.start()
            there = replace(parse_broker(BrokerConfig(self._embedded.url)), version=V311)
        mirror = Mirror(self._mqtt, there, self._door.pump, trusted=wanted.trusted or where is not None)
        if where is not None and (other := mirror.elsewhere) is not None:
            raise LocalError(
                f"The server {other} has the mirror, and an embedded broker belongs to one server. Start this one "
                "without --broker embedded, or give all servers the same other broker."
            )
        self.chat.mirror_status = mirror.status
        mirror.start()
        return mirror

    def _close_doors(self) -> None:
        self.chat.closing = True
        if self._mirror is not None:
            self._mirror.close()
        if self._embedded is not None:
            self._embedded.close()
        self._door.close()
        self._mqtt.close()

    def close(self) -> None:
        """Stop: accept no connections, finish the work in progress, tell the clients, release the data folder.

        No-op after the first call.
        """
        if self.chat.closing:
            return
        self._close_doors()
        self.chat.close()
        self._store.close()


def load(file: str) -> Config:
    """Return the config in a YAML file. Raises LocalError that names an unknown or wrong key."""
    try:
        text = Path(file).read_bytes()
    except OSError as error:
        raise LocalError(f"Cannot read the config file {file}: {error.strerror}.") from error
    try:
        _check_shape(text, file)
        settings = _without_blanks(msgspec.yaml.decode(text)) or {}
        if isinstance(settings, dict):
            settings |= {key: _port_or_none(settings[key]) for key in ("mqtt_port", "mqtts_port") if key in settings}
        return msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        raise LocalError(f"The config file {file} is wrong: {error}.") from error
    except msgspec.DecodeError as error:
        raise _not_yaml(file, error) from error


def _check_shape(text: bytes, file: str) -> None:
    """Raise LocalError for what is not YAML, and for deep nesting and aliases, which take long to read or crash it."""
    import yaml  # only here, because importing it takes time

    depth = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                raise LocalError(f"The config file {file} has an alias of YAML. Write the value out.")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEPTH:
                raise LocalError(f"The config file {file} is nested too deeply. Settings have at most {_DEPTH} levels.")
    except yaml.YAMLError as error:
        raise _not_yaml(file, error) from error


def _not_yaml(file: str, error: Exception) -> LocalError:
    return LocalError(f"The config file {file} is not YAML: {' '.join(str(error).split())}.")


def _without_blanks(value: Any) -> Any:
    """Return the settings without keys that have no value, as if those keys were commented out."""
    if not isinstance(value, dict):
        return value
    return {key: _without_blanks(below) for key, below in value.items() if below is not None}


def _port_or_none(value: Any) -> Any:
    """Return `none` for any way to write that no port is wanted; YAML reads off, no and false as False."""
    return _NO_PORT[0] if value is False or str(value).lower() in _NO_PORT else value


def _mqtt_port(text: str) -> int | str:
    port = _port_or_none(text)
    return port if port == _NO_PORT[0] else int(text)


_mqtt_port.__name__ = "port"  # the name of the type in argparse's errors


def configure(arguments: Sequence[str], program: str = PROGRAM) -> Config:
    """Return the config from the command line and its config file. Exits with 2 for wrong options."""
    parser = _parser(program)
    options = vars(parser.parse_args(arguments))
    file = options.pop("config")
    sections = {"broker": _section(options, "broker", _BROKER), "tls": _section(options, "tls", _TLS)}
    given = {key: value for key, value in options.items() if value is not None}
    for key in ("port", "mqtt_port", "mqtts_port"):
        if given.get(key) != _NO_PORT[0] and not 0 <= given.get(key, 0) <= 65_535:
            parser.error(f"--{key.replace('_', '-')} takes a port from 0 to 65535, not {given[key]}")
    config = load(file) if file else Config()
    if not config.database:
        config = msgspec.structs.replace(config, database=os.environ.get(DATABASE_VARIABLE, ""))
    merged = {key: msgspec.structs.replace(getattr(config, key), **values) for key, values in sections.items()}
    return msgspec.structs.replace(config, **merged, **given)


def _section(options: dict[str, Any], name: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """Remove the options of one section of the config; return the settings that they give."""
    found = {key: options.pop(f"{name}{end}") for key, end in settings.items()}
    return {key: value for key, value in found.items() if value is not None}


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Partyline: a chat server for people and devices on one network.",
        epilog="\n".join(["subcommands:", *_subcommands(program), "", _PRECEDENCE]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Config()
    parser.add_argument("--host", help=f"address to listen on (default {default.host}; 0.0.0.0 or :: for the network)")
    parser.add_argument("--port", type=int, help=f"port to listen on (default {default.port}; 0 picks a free one)")
    for option, what, usual in (
        ("mqtt", "a second port, for", MQTT_PORT),
        ("mqtts", "the port of TLS for", MQTTS_PORT),
    ):
        parser.add_argument(
            f"--{option}-port",
            type=_mqtt_port,
            metavar="PORT",
            help=f"{what} MQTT devices (default {usual} if it is free; none: no such port)",
        )
    parser.add_argument("--data", metavar="DIR", help=f"data folder (default {default.data}/)")
    parser.add_argument(
        "--database", metavar="URL", help="postgresql://USER@HOST/NAME for the messages (default: in the data folder)"
    )
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="where other servers on the same database reach this one"
    )
    for option, what in (("cert", "certificate, with the chain above it"), ("key", "certificate's key")):
        parser.add_argument(f"--tls-{option}", metavar="FILE", help=f"PEM file of the {what}")
    parser.add_argument(
        "--tls-required", action="store_true", default=None, help="refuse other machines that do not use TLS"
    )
    parser.add_argument("--broker", metavar="URL", help=f"another broker, to mirror the chat to: {URL_FORMS}")
    for option, what in (("ca", "authority"), ("cert", "own certificate"), ("key", "own key")):
        parser.add_argument(f"--broker-{option}", metavar="FILE", help=f"PEM file of the {what}, for mqtts://")
    parser.add_argument(
        "--broker-password-file", metavar="FILE", help="file with our password there, if the URL has only the user name"
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file with these settings and the limits")
    parser.add_argument("--log-format", choices=list(FORMATS), help="form of the log on standard error (default text)")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="(default info)")
    parser.add_argument("--version", action="version", version=f"partyline {VERSION}")
    return parser


def _subcommands(program: str) -> list[str]:
    """Return the lines of the help that list the subcommands."""
    return [f"  {program} {name} {row.usage}".rstrip() + f"\n    {row.help}" for name, row in SUBCOMMANDS.items()]


def allow_many_connections(limits: Limits) -> None:
    """Raise the soft limit of open files as far as the system permits, and connections and files need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    others = limits.open_files + 256
    wanted = limits.connections + others
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < ceiling:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
        soft = ceiling
    if soft != resource.RLIM_INFINITY and soft < wanted:
        report(events.FewDescriptors(soft, soft - others))


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run until SIGTERM or Ctrl-C. Return the exit status. `program` is the command's name in what it prints."""
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments), program)
    finally:
        flush_standard_streams()


def _run(given: Sequence[str], program: str) -> int:
    """Run a subcommand or the server. Return the exit status."""
    if given and given[0] in SUBCOMMANDS:
        return SUBCOMMANDS[given[0]].run(given[1:], program)
    if given and not given[0].startswith("-"):
        print_error(f"{program}: {unknown_subcommand(given[0], program)}")
        return 2
    received = _signals()
    try:
        config = configure(given, program)
        with closing(open_log(config.log, network_of)):
            if has_password(config.broker.url) and any(config.broker.url in argument for argument in given):
                report(events.ExposedPassword("--broker"))
            if url_has_password(config.database) and any(config.database in argument for argument in given):
                report(events.ExposedPassword("--database"))
            _serve(config, received)
    except LocalError as error:
        print_error(f"{program}: {error}")
        return 1
    return 0


def _serve(config: Config, signals: int) -> None:
    """Run the server until a signal comes by the descriptor that ends it. Raises LocalError if it cannot start."""
    os.umask(0o077)  # no other user of the machine may read the data
    allow_many_connections(config.limits)
    limit_free_memory()
    server = Server(config)
    # These objects stay. To scan them at each garbage collection would delay everyone by some milliseconds.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()
    if server.tls is not None or not sys.stdin or not sys.stdin.isatty():
        signal.signal(signal.SIGHUP, lambda *_: None)  # else: the terminal is closed, and the program ends
    database = shown_url(config.database) if config.database else ""
    report(events.Started(VERSION, server.address, server.mqtt_address or "", config.data, database))
    print_out(_ready(config, server))
    while os.read(signals, 1)[0] == signal.SIGHUP:
        server.reload_tls()
    print_out("Stopping.")
    server.close()
    report(events.Stopped())


def _signals() -> int:
    """Return a descriptor from which the number of each signal can be read as one byte: SIGTERM, SIGINT, SIGHUP.

    A handler that sets an Event would block for ever if it ran while the same thread is about to wait for that Event.
    """
    here, there = os.pipe()
    os.set_blocking(there, False)
    signal.set_wakeup_fd(there, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return here


def _ready(config: Config, server: Server) -> str:
    local = server.address.startswith(("127.", "[::1]"))
    mqtt = f", for MQTT devices also on {server.mqtt_address}" if server.mqtt_address else ""
    mqtts = f", for MQTT devices with TLS on {server.mqtts_address}" if server.mqtts_address else ""
    tls = ""
    if server.tls is not None:
        tls = " Other machines must use TLS." if server.tls.required else " Each port takes TLS, too."
    reach = " Listening on this machine only; --host 0.0.0.0 opens it to the network." if local else ""
    database = f" Database: {shown_url(config.database)}." if config.database else ""
    where = f"{server.address}{mqtt}{mqtts}. Data folder: {config.data}.{database}"
    return f"Partyline {VERSION} is ready on {where}{tls}{reach}"


if __name__ == "__main__":
    sys.exit(main())
