"""Hypothesis strategies for every MQTT packet that may be sent, by version and side, and what tests do with bytes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from wire.mqtt import (
    BINARY,
    NONE,
    PAIR,
    PROPERTIES,
    REASONS,
    TEXT,
    V5,
    V311,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Item,
    Kind,
    MqttError,
    MqttPackets,
    PingReq,
    PingResp,
    Properties,
    Property,
    PubAck,
    PubAcks,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Reason,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
    encode,
)

VERSIONS = (V311, V5)
CONNECT = {version: encode(Connect(version=version, client_id="c"), version) for version in VERSIONS}


def strings(max_size: int = 12, **characters: Any) -> st.SearchStrategy[str]:
    excluded = "\0" + characters.pop("without", "")
    alphabet = st.characters(exclude_categories=["Cs"], exclude_characters=excluded)
    return st.text(alphabet, max_size=max_size, **characters)


topics = strings(without="+#", min_size=1)
_levels = st.lists(st.one_of(st.just("+"), strings(6, without="+#/")), min_size=1, max_size=4)
filters = st.one_of(
    st.just("#"),
    _levels.map("/".join).filter(lambda each: bool(each) and not each.startswith("$share/")),
    _levels.map(lambda levels: "/".join([*levels, "#"])).filter(lambda each: not each.startswith("$share/")),
    st.just("$share/group/a/+/#"),
)
identifiers = st.integers(1, 0xFFFF)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    TEXT.name: strings(),
    BINARY.name: st.binary(max_size=12),
    PAIR.name: st.tuples(strings(), strings()),
}


def values(row: Property, kind: Kind) -> st.SearchStrategy[Any]:
    if row.name == "response_topic":
        return topics
    one = VALUES[row.type.name] if row.type.least is None else st.integers(row.type.least, row.type.most)
    if row.name == "user_property" or (row.name, kind) == ("subscription_identifier", Kind.PUBLISH):
        return st.lists(one, min_size=1, max_size=3).map(tuple)
    return st.tuples(one) if row.name == "subscription_identifier" else one


@functools.cache
def properties(kind: Kind, version: int, *without: str) -> st.SearchStrategy[Properties]:
    if version == V311:
        return st.just(NONE)
    rows = [row for row in PROPERTIES if kind in row.kinds and row.name not in without]
    return st.one_of(
        st.just(NONE),
        st.fixed_dictionaries({}, optional={row.name: values(row, kind) for row in rows}).map(
            lambda chosen: Properties(**chosen)
        ),
    )


def with_method(chosen: Properties) -> Properties:
    return msgspec.structs.replace(chosen, authentication_method=chosen.authentication_method or "method")


@functools.cache
def reasons(kind: Kind, version: int) -> st.SearchStrategy[int]:
    return st.sampled_from(sorted(REASONS[kind])) if version == V5 else st.just(0)


@functools.cache
def wills(version: int) -> st.SearchStrategy[Will]:
    return st.builds(
        Will, topics, st.binary(max_size=12), st.integers(0, 2), st.booleans(), properties(Kind.WILL, version)
    )


@functools.cache
def connects(version: int) -> st.SearchStrategy[Connect]:
    return st.builds(
        Connect,
        version=st.just(version),
        client_id=strings(min_size=1),
        clean=st.booleans(),
        keep_alive=st.integers(0, 0xFFFF),
        username=strings() if version == V311 else st.none() | strings(),
        password=st.none() | st.binary(max_size=12),
        will=st.none() | wills(version),
        properties=properties(Kind.CONNECT, version).map(
            lambda chosen: chosen if chosen.authentication_data is None else with_method(chosen)
        ),
    )


@functools.cache
def publishes(version: int, *without: str) -> st.SearchStrategy[Publish]:
    def build(topic: str, payload: bytes, retain: bool, sent: Properties, qos: int, dup: bool, number: int) -> Publish:
        return Publish(topic, payload, qos, retain, dup and qos > 0, number if qos else 0, sent)

    sent = properties(Kind.PUBLISH, version, "topic_alias", *without)
    payloads = st.binary(max_size=20) | st.integers(100, 400).map(bytes)
    return st.builds(build, topics, payloads, st.booleans(), sent, st.integers(0, 2), st.booleans(), identifiers)


def acks(version: int) -> list[st.SearchStrategy[Any]]:
    types = {Kind.PUBACK: PubAck, Kind.PUBREC: PubRec, Kind.PUBREL: PubRel, Kind.PUBCOMP: PubComp}
    every: list[st.SearchStrategy[Any]] = [
        st.builds(type, identifiers, reasons(kind, version), properties(kind, version))
        for kind, type in types.items()
        if version == V5 or kind is not Kind.PUBACK
    ]
    every[0] = every[0].filter(lambda ack: not isinstance(ack, PubAck) or ack.reason or ack.properties != NONE)
    return [*every, st.builds(PubAcks, st.lists(identifiers, min_size=1, max_size=5).map(tuple))]


@functools.cache
def from_clients(version: int) -> st.SearchStrategy[Any]:
    """Packets that a client may send after its CONNECT."""
    subscriptions = st.builds(Subscription, filters, st.integers(0, 2))
    if version == V5:
        subscriptions = st.builds(
            Subscription, filters, st.integers(0, 2), st.booleans(), st.booleans(), st.integers(0, 2),
        ).filter(lambda each: not (each.no_local and each.filter.startswith("$share/")))  # fmt: skip
    lists = st.lists(subscriptions, min_size=1, max_size=4).map(tuple)
    leaving = st.builds(Disconnect, reasons(Kind.DISCONNECT, version), properties(Kind.DISCONNECT, version))
    every = [
        publishes(version, "subscription_identifier"),
        *acks(version),
        st.builds(Subscribe, identifiers, lists, properties(Kind.SUBSCRIBE, version)),
        st.builds(
            Unsubscribe,
            identifiers,
            st.lists(filters, min_size=1, max_size=4).map(tuple),
            properties(Kind.UNSUBSCRIBE, version),
        ),
        st.just(PingReq()),
        leaving,
    ]
    return st.one_of(every + auths(version))


def auths(version: int) -> list[st.SearchStrategy[Any]]:
    if version == V311:
        return []
    some = st.builds(Auth, reasons(Kind.AUTH, version), properties(Kind.AUTH, version).map(with_method))
    return [some, st.just(Auth())]


@functools.cache
def from_servers(version: int) -> st.SearchStrategy[Any]:
    codes = [Reason.SUCCESS, 0x84, 0x85, 0x86, 0x87, 0x88] if version == V311 else sorted(REASONS[Kind.CONNACK])
    granted = [0, 1, 2, 0x80] if version == V311 else sorted(REASONS[Kind.SUBACK])
    removed = (
        st.just(()) if version == V311 else st.lists(reasons(Kind.UNSUBACK, V5), min_size=1, max_size=4).map(tuple)
    )
    every = [
        st.builds(
            lambda code, present, sent: ConnAck(code, present and not code, sent),
            st.sampled_from(codes), st.booleans(), properties(Kind.CONNACK, version),
        ),
        publishes(version),
        *acks(version),
        st.builds(
            SubAck,
            identifiers,
            st.lists(st.sampled_from(granted), min_size=1, max_size=4).map(tuple),
            properties(Kind.SUBACK, version),
        ),
        st.builds(UnsubAck, identifiers, removed, properties(Kind.UNSUBACK, version)),
        st.just(PingResp()),
    ]  # fmt: skip
    if version == V5:
        sent = properties(Kind.DISCONNECT, version, "session_expiry_interval")
        every.append(st.builds(Disconnect, reasons(Kind.DISCONNECT, version), sent))
    return st.one_of(every + auths(version))


versions = st.sampled_from(VERSIONS)
client_packets = versions.flatmap(lambda version: st.tuples(st.just(version), from_clients(version)))
server_packets = versions.flatmap(lambda version: st.tuples(st.just(version), from_servers(version)))


def connected(version: int, **options: Any) -> MqttPackets:
    """The server's side of a connection whose CONNECT has come."""
    packets = MqttPackets(**options)
    assert [type(each) for each in packets.receive(CONNECT[version])] == [Connect]
    return packets


def flat(items: Iterable[Item]) -> list[object]:
    """Without how PUBACKs are grouped, and with errors that can be compared."""
    out: list[object] = []
    for item in items:
        if isinstance(item, PubAcks):
            out += [PubAcks((each,)) for each in item.packet_ids]
        elif isinstance(item, MqttError):
            out.append((item.reason, item.sentence, item.version))
        else:
            out.append(item)
    return out


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    points = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(points)]


def with_length(first: int, body: bytes) -> bytes:
    assert len(body) < 0x4000
    return bytes((first, len(body) & 0x7F | 0x80, len(body) >> 7)) + body if len(body) > 0x7F else bytes(
        (first, len(body))
    ) + body  # fmt: skip


def body_of(data: bytes) -> bytes:
    return data[2:] if data[1] < 0x80 else data[3:]
