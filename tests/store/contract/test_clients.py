"""The contract of clients: sessions and their cursors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from store import Client, Store
from tests.support.stores import NOW, Place, posting


def test_a_session_is_kept_until_it_ends(store: Store, place: Place) -> None:
    """While the client is connected, for ever, or until a time; a later `save_client` replaces the session."""
    assert store.client("ann/dev", NOW) is None
    connected, for_ever = Client("ann/dev", 60, None, "one"), Client("ann/phone", None, None, "two")
    for client in (connected, for_ever):
        store.save_client(client)
        assert store.client(client.key, 10**15) == client
    away = Client("ann/dev", 60, NOW, "three")
    store.save_client(away)
    again = place.open()
    assert again.client("ann/dev", NOW - 1) == away
    assert again.client("ann/dev", NOW) is None
    assert again.client("ann/phone", 10**15) == for_ever


def test_a_start_ends_sessions(store: Store) -> None:
    """The sessions of connected clients end `expiry` seconds from now; those that have ended lose their cursors."""
    lab = store.open_channel("lab")
    for key, expiry, until in (
        ("a/1", 60, None),
        ("b/1", None, None),
        ("c/1", 60, NOW),
        ("d/1", 60, NOW + 1),
        ("e/1", 0, None),
    ):
        store.save_client(Client(key, expiry, until, ""))
        store.move({(lab.id, key): 1}, {})
    store.part_clients(now=NOW)
    store.end_clients(NOW)
    kept = {key: store.client(key, NOW) for key in ("a/1", "b/1", "c/1", "d/1", "e/1")}
    assert {key: client.until for key, client in kept.items() if client} == {
        "a/1": NOW + 60_000, "b/1": None, "d/1": NOW + 1,
    }  # fmt: skip
    assert {key: store.client_cursors(key) for key in kept if not kept[key]} == {"c/1": {}, "e/1": {}}
    assert store.client_cursors("d/1") == {lab.id: 1}


def test_the_sessions_of_one_server_end(store: Store) -> None:
    """A session that has no end stays as it is."""
    for key, expiry in (("a/1", 60), ("b/1", 60), ("c/1", None)):
        store.save_client(Client(key, expiry, None, "", 0, 3))
    store.part_clients(8, NOW)
    assert {client.until for client in store.clients("")} == {None}
    store.part_clients(0, NOW)
    assert {client.key: client.until for client in store.clients("")} == {
        "a/1": NOW + 60_000, "b/1": NOW + 60_000, "c/1": None,
    }  # fmt: skip
    store.return_clients(0, [3])
    assert {client.until for client in store.clients("")} == {None}


def test_a_session_is_parted_by_its_owner(store: Store) -> None:
    """What its owner says last counts; the store computes when the session ends."""
    client = Client("ann/dev", 60, None, "one", 0, 5)
    assert not store.part_client(client, NOW), "it does not exist"
    assert store.save_client(client)
    assert not store.part_client(replace(client, connection=4), NOW)
    assert store.part_client(replace(client, expiry=30, state="two"), NOW)
    assert store.clients("") == [Client("ann/dev", 30, NOW + 30_000, "two", 0, 5)]
    assert store.resume_client(replace(client, connection=6), NOW)
    store.change_client_filters("ann/dev", {"a": 1}, (), 0, 5)
    store.change_client_filters("ann/dev", {"b": 1}, (), 0, 6)
    store.end_client("ann/dev", 0, 5)
    assert store.client_filters("ann/dev") == {"b": 1}
    assert store.part_client(replace(client, connection=6, expiry=None), NOW)
    assert store.client("ann/dev") == Client("ann/dev", None, None, "one", 0, 6)
    store.end_client("ann/dev", 0, 6)
    assert store.clients("") == []


def test_the_clock_is_that_of_the_store(store: Store) -> None:
    before = store.clock()
    store.save_client(Client("ann/dev", 60, None, ""))
    store.part_client(Client("ann/dev", 60, None, ""))
    until = store.clients("")[0].until
    assert until is not None
    assert before + 60_000 <= until <= store.clock() + 60_000
    assert store.client("ann/dev") is not None
    store.end_clients()
    assert len(store.clients("")) == 1
    store.save_client(Client("ann/dev", 60, store.clock(), ""))
    store.end_clients(spare=60_000)
    assert len(store.clients("")) == 1
    assert store.client("ann/dev") is None
    assert not store.resume_client(Client("ann/dev", 60, None, ""))
    store.end_clients()
    assert store.clients("") == []


def test_a_dropped_client_loses_its_cursors_and_ids(store: Store) -> None:
    """And no other client does."""
    lab = store.open_channel("lab")
    store.open_account("ann")
    store.join(lab, "ann")
    mine, others = "/dev/1", ("/dev2/1", "/de/1", "/dev0/1", "/dev", "dev/1")
    posts = [(id, id) for id in (mine, *others)]
    store.append([posting(lab, "ann", *posts), posting(lab, "bob", (mine, mine))], NOW)
    for key in ("ann/dev", "ann/dev2", "bob/dev"):
        store.save_client(Client(key, None, None, ""))
        store.move({(lab.id, key): 5}, {})
    store.drop_client("ann/dev")
    store.drop_client("ann/dev")
    assert (store.client("ann/dev", NOW), store.client_cursors("ann/dev")) == (None, {})
    assert store.client_cursors("ann/dev2") == store.client_cursors("bob/dev") == {lab.id: 5}
    fresh = store.append([posting(lab, "ann", *posts), posting(lab, "bob", (mine, mine))], NOW).batches
    assert [entry.text for batch in fresh for entry in batch.entries] == [mine]
    assert store.cursor(lab, "ann") == 0


def test_a_clients_cursors_are_its_own(store: Store) -> None:
    """They move forwards only, and beside those of the client's user, also in the same call."""
    lab, den = store.open_channel("lab"), store.open_channel("den")
    store.open_account("ann")
    store.join(lab, "ann")
    store.append([posting(lab, "bob", "a", "b", "c")], NOW)
    assert store.client_cursors("ann/dev") == {}
    store.move({(lab.id, "ann/dev"): 2, (lab.id, "ann"): 1, (den.id, "ann/dev"): 0}, {"ann": NOW})
    assert store.client_cursors("ann/dev") == {lab.id: 2, den.id: 0}
    store.move({(lab.id, "ann/dev"): 1, (lab.id, "ann"): 3}, {})
    assert (store.client_cursors("ann/dev")[lab.id], store.cursor(lab, "ann")) == (2, 3)


def test_clients_by_the_beginning_of_their_key(store: Store) -> None:
    """Sorted by key: neither those before nor those after the prefix, also those that have ended."""
    keys = ["ann/1", "ann/2", "ann/\U0010fffe", "ann2/1", "an/1", "bob/1", "anm/\U0010fffe", "Ann/1"]
    for key in keys:
        store.save_client(Client(key, 0, 1, key))
    assert [client.key for client in store.clients("ann/")] == ["ann/1", "ann/2", "ann/\U0010fffe"]
    assert store.clients("ann/2") == [Client("ann/2", 0, 1, "ann/2")]
    assert [client.key for client in store.clients("")] == sorted(keys)
    assert store.clients("carol") == []


def test_a_saved_client_replaces_the_one_with_its_key(store: Store) -> None:
    """Every field, but the cursors stay."""
    lab = store.open_channel("lab")
    store.save_client(Client("ann/dev", 60, NOW, "one"))
    store.move({(lab.id, "ann/dev"): 3}, {})
    store.save_client(Client("ann/dev", None, None, "two"))
    assert store.clients("") == [Client("ann/dev", None, None, "two")]
    assert store.client_cursors("ann/dev") == {lab.id: 3}


def test_room_for_a_session_of_the_same_user(store: Store) -> None:
    """The session goes that ends first among those whose clients are away; other users' stay."""
    for key, until in (("ann/1", NOW + 5), ("ann/2", None), ("ann/3", NOW + 3), ("ann2/1", NOW), ("an/1", NOW)):
        store.save_client(Client(key, 60, until, ""))
    assert store.make_room("ann/new", 0, 0) == []
    assert store.make_room("ann/new", 4, 0) == []
    assert len(store.clients("")) == 5
    assert store.make_room("ann/new", 3, 0) == ["ann/3"]
    assert [client.key for client in store.clients("ann/")] == ["ann/1", "ann/2"]
    assert store.make_room("ann/new", 2, 0) == ["ann/1"]
    assert [client.key for client in store.clients("")] == ["an/1", "ann/2", "ann2/1"]
    assert store.make_room("ann/new", 1, 0) is None, "the client of the last one is connected"
    assert len(store.clients("")) == 3


def test_room_among_the_sessions_of_all_users(store: Store) -> None:
    """The session of a guest goes; those of registered users and of connected clients never do."""
    for name in ("ann", "bob", "cy"):
        store.open_account(name)
    store.set_password("ann", "hash")
    for key, until in (("ann/1", NOW + 1), ("bob/1", NOW + 3), ("cy/1", NOW + 2), ("bob/2", None)):
        store.save_client(Client(key, 60, until, ""))
    lab = store.open_channel("lab")
    store.move({(lab.id, "cy/1"): 4}, {})
    assert store.make_room("new/1", 9, 5) == []
    assert len(store.clients("")) == 4
    assert store.make_room("new/1", 9, 4) == ["cy/1"]
    assert [client.key for client in store.clients("")] == ["ann/1", "bob/1", "bob/2"]
    assert store.client_cursors("cy/1") == {}
    assert store.make_room("new/1", 9, 3) == ["bob/1"]
    assert store.make_room("new/1", 9, 2) is None
    assert store.make_room("ann/2", 1, 1) is None
    assert [client.key for client in store.clients("")] == ["ann/1", "bob/2"], "without room, none is removed"


def test_the_session_of_a_guest_who_is_away_can_be_removed(store: Store) -> None:
    for name in ("ann", "bob"):
        store.open_account(name)
    store.set_password("ann", "hash")
    for key, until in (("ann/1", NOW), ("bob/1", NOW), ("bob/2", None), ("bob/3", NOW)):
        store.save_client(Client(key, 60, until, ""))
        store.change_client_filters(key, {"a": 1}, ())
    assert [store.drop_away_guest(f"{key}") for key in ("ann/1", "bob/1", "bob/2", "bob/4")] == [
        False, True, False, False,
    ]  # fmt: skip
    assert [client.key for client in store.clients("")] == ["ann/1", "bob/2", "bob/3"]
    assert (store.client_filters("bob/1"), store.client_filters("bob/3")) == ({}, {"a": 1})


def test_a_client_that_is_back_resumes_its_session(store: Store) -> None:
    """Unless it has ended; its cursors and filters stay."""
    lab = store.open_channel("lab")
    back = Client("ann/dev", 30, None, "two")
    assert not store.resume_client(back, NOW)
    assert store.clients("") == []
    store.save_client(Client("ann/dev", 60, NOW, "one"))
    store.change_client_filters("ann/dev", {"a/+": 1}, ())
    store.move({(lab.id, "ann/dev"): 3}, {})
    assert not store.resume_client(back, NOW)
    assert store.resume_client(back, NOW - 1)
    assert store.resume_client(back, NOW + 1), "it is connected, so it has no end"
    assert store.clients("") == [back]
    assert (store.client_cursors("ann/dev"), store.client_filters("ann/dev")) == ({lab.id: 3}, {"a/+": 1})
    store.end_clients(NOW)
    assert store.clients("") == [back]


@pytest.mark.parametrize("shared_hash", [False, True])
def test_the_filters_of_a_session(
    store: Store, place: Place, monkeypatch: pytest.MonkeyPatch, *, shared_hash: bool
) -> None:
    """Each is there once, with the options that it was stored with last, until it is removed."""
    if shared_hash:
        monkeypatch.setattr("store.sql.clients.filter_hash", lambda topic_filter: -1)
    for key in ("ann/dev", "ann/dev2"):
        store.save_client(Client(key, 60, None, ""))
    assert store.client_filters("ann/dev") == {}
    long = "é/" * 500
    store.change_client_filters("ann/dev", {"a": 0, "a/#": 1, "": 2, long: 3}, ())
    store.change_client_filters("ann/dev2", {"a": 9}, ())
    store.change_client_filters("ann/dev", {"a/#": 44, "A": 1}, ["", "never"])
    store.change_client_filters("ann/dev", {}, ["a"])
    assert store.client_filters("ann/dev") == {"a/#": 44, long: 3, "A": 1}
    assert store.client_filters("ann/dev2") == {"a": 9}
    store.save_client(Client("ann/dev", 60, NOW, ""))
    assert place.open().client_filters("ann/dev") == {"a/#": 44, long: 3, "A": 1}


def test_filters_end_with_their_session(store: Store) -> None:
    """Also when it makes room or has ended, and none is stored for a session that does not exist."""
    store.change_client_filters("ann/1", {"a": 1}, ())
    store.save_client(Client("ann/1", 60, None, ""))
    assert store.client_filters("ann/1") == {}
    for at in range(1, 5):
        store.save_client(Client(f"ann/{at}", 60, NOW + at, ""))
        store.change_client_filters(f"ann/{at}", {"a": at}, ())
    store.drop_client("ann/4")
    store.end_clients(NOW + 1)
    assert store.make_room("ann/new", 2, 0) == ["ann/2"]
    assert [store.client_filters(f"ann/{at}") for at in range(1, 5)] == [{}, {}, {"a": 3}, {}]
