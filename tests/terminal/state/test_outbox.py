"""The outbox: ids, what stays until its answer, and the channels that follow from joins and leaves without one."""

from __future__ import annotations

from terminal.state.outbox import Outbox
from wire.frames import Join, Leave, Msg, Request, Say, Who


def keep(outbox: Outbox, request: Request) -> Request:
    """Address and keep a request."""
    addressed = outbox.address(request)
    outbox.keep(addressed)
    return addressed


def test_every_request_has_a_ref_and_every_post_an_id() -> None:
    outbox = Outbox(iter(["first", "second"]).__next__)
    addressed = [outbox.address(request) for request in (Say("hello", "lab"), Msg("bob", "hello"), Who())]
    assert [getattr(request, "ref", None) for request in addressed] == [1, 2, 3]
    assert [getattr(request, "id", None) for request in addressed] == ["first", "second", None]


def test_a_request_stays_in_its_order_until_its_answer() -> None:
    outbox = Outbox()
    say, who = keep(outbox, Say("hello", "lab")), keep(outbox, Who())
    assert [*outbox] == [say, who]
    assert outbox.posts() == [say]
    assert outbox.answered(1) is not None
    assert outbox.answered(1) is None
    assert outbox.answered(None) is None
    assert [*outbox] == [who]
    assert outbox.posts() == []
    assert len(outbox) == 1


def test_channels_follow_from_moves_without_an_answer() -> None:
    outbox = Outbox()
    keep(outbox, Join("LAB"))
    keep(outbox, Leave("ops"))
    keep(outbox, Join("den"))
    joined = {"lab": "Lab", "ops": "ops", "hall": "hall"}
    assert list(outbox.after_moves(joined).items()) == [("hall", "hall"), ("lab", "Lab"), ("den", "den")]


def test_an_answered_move_changes_nothing_any_more() -> None:
    outbox = Outbox()
    join, leave = keep(outbox, Join("lab")), keep(outbox, Leave("ops"))
    for move in (join, leave):
        assert isinstance(move, Join | Leave)
        assert outbox.answered(move.ref) is not None
    assert outbox.after_moves({"ops": "ops"}) == {"ops": "ops"}
