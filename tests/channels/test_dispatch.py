"""The dispatch table: every request has its rows, and what a state does not have is refused with its code."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from channels import dispatch
from channels.dispatch import TABLE, Order, Role
from channels.session import State
from server import Server
from tests.support.clients import Json, endpoint
from tests.support.waiting import eventually
from wire.frames import (
    REQUESTS,
    Attach,
    Bye,
    Channels,
    Error,
    Files,
    Get,
    GetFile,
    Have,
    Hello,
    Help,
    History,
    Join,
    Line,
    Malformed,
    Names,
    Ping,
    Put,
    Query,
    Say,
    SendFile,
    Status,
    Stored,
    Sum,
    Who,
    Whois,
)
from wire.jsonlines import JsonLines

Connect = Callable[..., Json]


def test_every_request_has_a_row_and_at_most_one_a_state() -> None:
    assert {row.request for row in TABLE} == {*REQUESTS, Attach, GetFile, Line, Malformed, Names, Query, SendFile}
    rows = Counter((row.request, state) for row in TABLE for state in row.states)
    assert set(rows.values()) == {1}


def test_every_request_has_a_rate_but_those_that_wait_for_each_other() -> None:
    """The next bytes of a file are asked for, or sent, when the last ones are there."""
    assert {row.request for row in TABLE if row.limit is None and not row.inner_limits} == {Get, Put, Bye}


def test_requests_that_only_answer_change_nothing() -> None:
    questions = {row.request for row in TABLE if row.only_answers}
    assert questions == {Channels, Names, Who, Whois, History, Files, Have, Get, Sum, Status, Help, Ping}


def test_only_posts_of_users_are_gathered() -> None:
    gathered = {row.request: row.states for row in TABLE if row.order is Order.GATHERED}
    assert gathered == {Say: (State.NAMED,), Line: (State.NAMED,)}


def test_what_a_state_does_not_have_is_refused(server: Server, connect: Connect) -> None:
    nameless, named, attached = connect(server.address), connect(server.address, "alice"), connect(server.address)
    attached.request(Attach(name="alice", token=named.welcome.token))
    for client, request, code in (
        (nameless, Join("lab"), "hello-first"),
        (nameless, Say("hello", "lab", ref=1), "hello-first"),
        (named, Hello(name="bob"), "already-named"),
        (attached, Join("lab"), "not-allowed"),
        (attached, Say("hello", "lab", ref=1), "not-allowed"),
    ):
        answer = client.request(request)
        assert isinstance(answer, Error)
        assert answer.code == code


@pytest.mark.parametrize("posts", [True, False], ids=["a post", "a command"])
def test_a_role_that_the_user_does_not_have_is_refused(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch, posts: bool
) -> None:
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    monkeypatch.setitem(dispatch._HAS_ROLE, Role.ANYONE, lambda session: False)
    answer = alice.request(Say("hello", "lab", ref=1) if posts else Join("attic"))
    assert isinstance(answer, Error)
    assert answer.code == "not-allowed"


def test_consecutive_posts_to_one_channel_are_one_posting(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = connect(server.address, "alice")
    for channel in ("lab", "attic"):
        alice.request(Join(channel))
    post, sizes = server.chat.journal.post, list[int]()

    def counted(posting: object, *, carry: bool = True) -> None:
        sizes.append(len(posting.posts))  # type: ignore[attr-defined]
        post(posting, carry=carry)  # type: ignore[arg-type]

    monkeypatch.setattr(server.chat.journal, "post", counted)
    posts = [*[Say(f"{n}", "lab") for n in range(5)], Say("5", "attic"), Say("6", "lab"), Say("7", "lab", ref=1)]
    alice.send(*posts)
    alice.expect(Stored, lambda stored: stored.ref == 1)
    assert sizes == [5, 1, 2]


def test_a_page_waits_until_the_earlier_answers_have_gone(server: Server, connect: Connect) -> None:
    """A peer that asks for pages and reads none made the server keep two of them."""
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    for _ in range(20):
        alice.request(Say("x" * 16_000, "lab"))
    with socket.create_connection(endpoint(server.address)) as silent:
        asked = JsonLines.encode(Hello(name="bob")) + JsonLines.encode(History(channel="lab", limit=1_000)) * 200
        silent.sendall(asked)
        eventually(lambda: server.chat.directory.find("bob") is not None, lambda: "bob has not come")
        user = server.chat.directory.find("bob")
        assert user is not None
        reader: Any = user.sessions[0].reader
        eventually(lambda: reader._room is not None, lambda: "nothing waits for bob")
        assert reader._waiting <= server.chat.limits.page_bytes
