"""The statements of a login and a departure are built once: to build one takes longer than to run it."""

from __future__ import annotations

import pytest
from sqlalchemy import Delete, Insert, Select, Update

from store import Client, Store


def _login_and_departure(store: Store, name: str) -> None:
    """Make every call of a login by text, JSON or MQTT, of a join, and of a departure."""
    store.account(name)
    store.open_account(name)
    lab = store.open_channel("lab")
    store.join(lab, name)
    store.open_private_log(name, "bob")
    store.find_private_log(name, "bob")
    store.memberships(name)
    store.members(lab)
    store.cursor(lab, name)
    key = f"{name}/phone"
    store.client(key, 1)
    store.drop_client(key)
    store.save_client(Client(key, 60, None, ""))
    store.resume_client(Client(key, 60, None, ""), 1)
    store.change_client_filters(key, {"a/#": 1}, ["b"])
    store.client_filters(key)
    store.client_cursors(key)
    store.move({(lab.id, name): 1, (lab.id, key): 1}, {name: 5})
    store.set_topic(lab, "tea")
    store.leave(lab, name)
    store.end_clients(1)
    store.read(lab, 0, 10)


def test_a_login_and_a_departure_build_no_statement(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _login_and_departure(store, "alice")
    built: list[str] = []
    for kind in (Select, Insert, Update, Delete):

        def build(self: object, *args: object, _init: object = kind.__init__, **rest: object) -> None:
            built.append(type(self).__name__)
            _init(self, *args, **rest)  # type: ignore[operator]

        monkeypatch.setattr(kind, "__init__", build)
    _login_and_departure(store, "carol")
    assert built == []
