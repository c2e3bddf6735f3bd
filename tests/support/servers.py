"""Several servers in one process: the contract of servers as function calls, on one store that all of them share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from channels.locks import nothing_held
from store import Blobs, Client, Held, Holding, KeptWill, ServerRow, Store, StoreError
from store.blobs import FOLDER


class SharedStore:
    """A store as one of its servers sees it (cast it to Store). `closed` is called when that server closes it."""

    def __init__(
        self, store: Store, servers: LocalServers, closed: Callable[[], None], folder: Path | None = None
    ) -> None:
        """The bytes of files are in `folder`; without one, in that of the store."""
        self._store = store
        self._servers = servers
        self._blobs = Blobs(folder / FOLDER, shared=True) if folder is not None else store.blobs()
        self.close = closed

    def blobs(self) -> Blobs:
        """The bytes of files."""
        return self._blobs

    def servers(self) -> LocalServers:
        """The servers, as this one sees them."""
        return self._servers

    def forget_guest(self, key: str, before: int) -> Any:
        """As the contract of `Servers.hold` needs it: a name that is held stays."""
        with self._servers.site.lock:
            return None if self._servers.site.named(key) else self._store.forget_guest(key, before)

    def save_client(self, client: Client) -> bool:
        """As the contract says, as all of the following."""
        with self._servers.site.lock:
            return self._has_name(client.server, client.connection) and self._store.save_client(client)

    def resume_client(self, client: Client, now: int | None = None) -> bool:
        """Have a connection take up a session, unless it has lost its name."""
        with self._servers.site.lock:
            return self._has_name(client.server, client.connection) and self._store.resume_client(client, now)

    def drop_client(self, key: str, server: int = 0, connection: int = 0) -> bool:
        """Drop a session, unless the connection has lost its name."""
        with self._servers.site.lock:
            return self._has_name(server, connection) and self._store.drop_client(key)

    def part_clients(self, server: int | None = None, now: int | None = None) -> None:
        """Part the clients of a server, or of those that do not live."""
        site = self._servers.site
        with site.lock:
            dead = [server] if server is not None else [each for each in range(site.servers) if each not in site.living]
            for each in dead:
                self._store.part_clients(each, now)

    def _has_name(self, server: int, connection: int) -> bool:
        self._servers.reach()
        return not server or (server, connection) in self._servers.site.held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class LocalSite:
    """The servers on one store, and what they hold. A test may break what they have in common.

    While `away` is true, each call fails as if the database was away.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.lock = threading.RLock()
        self.living: dict[int, LocalServers] = {}
        self.held: dict[tuple[int, int], Holding] = {}
        self.folders: dict[str, str] = {}  # by id: the server that has used it last
        self.taken_for_dead: set[int] = set()
        self.away = False
        self.told: list[tuple[int, str]] = []
        self.wills: dict[tuple[int, int], LocalWill] = {}
        self.duties: dict[str, int] = {}  # the server that has each
        self.servers = 1  # the number of the next one

    def server(self) -> LocalServers:
        """Return a further server."""
        self.servers += 1
        return LocalServers(self, self.servers - 1)

    def named(self, key: str) -> list[Holding]:
        """Return the holdings of a name."""
        return [each for each in self.held.values() if each.key == key]

    def kill(self, number: int) -> None:
        """Let a server die: the others clear up after it, and it reaches nobody any more."""
        with self.lock:
            del self.living[number]
            self._clear(number)

    def _clear(self, number: int) -> None:
        self.held = {place: each for place, each in self.held.items() if place[0] != number}
        self.store.part_clients(number)
        for will in self.wills.values():
            will.owner = None if will.owner == number else will.owner
        self.duties = {duty: server for duty, server in self.duties.items() if server != number}
        for other in list(self.living.values()):
            if other.here != number:
                other.gone(number)
        self._appoint()

    def _appoint(self) -> None:
        """Give each duty that nobody has to a server that shares it."""
        for server in list(self.living.values()):
            for duty, changed in list(server.shared.items()):
                if duty not in self.duties and not server.deaf:
                    self.duties[duty] = server.here
                    changed(True)

    def cut_off(self, number: int) -> None:
        """Take a server for dead that only cannot reach the database."""
        with self.lock:
            server = self.living[number]
            server.deaf = True
            for duty, changed in server.shared.items():
                if self.duties.get(duty) == number:
                    changed(False)
            self.taken_for_dead.add(number)
            self._clear(number)

    def back(self, number: int) -> None:
        """Let it reach the database again."""
        with self.lock:
            self.living[number].deaf = False
            self.taken_for_dead.discard(number)
            self.living[number].missed()
            self._appoint()


class LocalServers:
    """One server on a `LocalSite`. A `deaf` one hears nothing, and reaches nobody."""

    alone = False

    def __init__(self, site: LocalSite, here: int) -> None:
        self.site = site
        self.here = here
        self.deaf = False
        self.secret = f"secret of {here}"
        self.row = ServerRow(here)
        self.shared: dict[str, Callable[[bool], None]] = {}
        self.wills = LocalWills(self)

    def start(self, hear: Callable[[int, str], None], gone: Callable[[int], None], missed: Callable[[], None]) -> None:
        """Be one of the servers."""
        self.hear, self.gone, self.missed = hear, gone, missed
        with self.site.lock:
            self.site.living[self.here] = self

    def reach(self) -> None:
        """Raise StoreError if this server reaches nobody."""
        nothing_held("call the servers")
        if self.site.away or self.deaf:
            raise StoreError("The database is away.")

    def introduce(self, name: str, address: str, fingerprint: str) -> None:
        """Keep what the others are to know."""
        self.reach()
        self.row = ServerRow(self.here, name, address, fingerprint, self.secret, self.row.folder)
        self.site.folders[self.row.folder] = name

    def use_folder(self, folder: str) -> None:
        """Keep which folder it uses."""
        self.reach()
        self.row = ServerRow(self.here, secret=self.secret, folder=folder)

    def last_server(self, folder: str) -> str:
        """Return who has used a folder last."""
        self.reach()
        return self.site.folders.get(folder, "")

    def others(self) -> list[ServerRow]:
        """Return the others that live."""
        self.reach()
        with self.site.lock:
            return [self.site.living[number].row for number in self.numbers() if number != self.here]

    def numbers(self) -> list[int]:
        """Return those that are not gone."""
        self.reach()
        with self.site.lock:
            return sorted({*self.site.living} - self.site.taken_for_dead)

    def tell(self, message: str) -> None:
        """Call the others, all in one order."""
        self.reach()
        with self.site.lock:
            self.site.told.append((self.here, message))
            for other in self.site.living.values():
                if other is not self and not other.deaf:
                    other.hear(self.here, message)

    def pulse(self, message: str) -> None:
        """Call all, this one, too."""
        self.reach()
        with self.site.lock:
            for each in self.site.living.values():
                if not each.deaf:
                    each.hear(self.here, message)

    def hold(self, holding: Holding, given: str | None, *, proven: bool, own: Collection[int]) -> Held:
        """As the contract says."""
        self.reach()
        site = self.site
        with site.lock:
            account = site.store.account(holding.key)
            if account is None:
                return Held("forgotten")
            kept = [each for each in site.named(holding.key) if each.server != self.here or each.connection in own]
            matched = given is not None and given in {each.token for each in kept}
            if account.password is not None and not proven and not matched:
                return Held("registered")
            if account.password is None and kept and not matched and not any(map(holding.may_replace, kept)):
                return Held("taken")
            replaced = [each for each in kept if account.password is None or holding.is_client_of(each)]
            for each in site.named(holding.key):
                if each not in kept or each in replaced:
                    del site.held[each.server, each.connection]
            site.held[self.here, holding.connection] = replace(holding, token=given) if matched and given else holding
            has_wills = any(each.kept.client == holding.client_key for each in site.wills.values())
            return Held("held", tuple(replaced), matched, has_wills)

    def hold_again(self, holdings: Collection[Holding]) -> list[int]:
        """As the contract says."""
        self.reach()
        lost: list[int] = []
        with self.site.lock:
            for each in holdings:
                account = self.site.store.account(each.key)
                guest = account is None or account.password is None
                elsewhere = [other for other in self.site.named(each.key) if other.server != self.here]
                if any(guest or each.is_client_of(other) for other in elsewhere):
                    lost.append(each.connection)
                else:
                    self.site.held.setdefault((self.here, each.connection), each)
        return lost

    def release(self, connections: Collection[int]) -> None:
        """Remove holdings."""
        self.reach()
        with self.site.lock:
            for connection in connections:
                self.site.held.pop((self.here, connection), None)

    def holdings(self, key: str | None = None) -> list[Holding]:
        """Return the holdings."""
        self.reach()
        with self.site.lock:
            return list(self.site.held.values()) if key is None else self.site.named(key)

    def share(self, duty: str, changed: Callable[[bool], None]) -> None:
        """As the contract says."""
        with self.site.lock:
            self.shared[duty] = changed
            self.site._appoint()

    def give_up(self, duty: str) -> None:
        """As the contract says."""
        with self.site.lock:
            self.shared.pop(duty, None)
            if self.site.duties.get(duty) == self.here:
                del self.site.duties[duty]
            self.site._appoint()

    def on_duty(self, duty: str) -> ServerRow | None:
        """As the contract says."""
        self.reach()
        with self.site.lock:
            server = self.site.duties.get(duty)
            return None if server is None else self.site.living[server].row

    def close(self) -> None:
        """Be none of the servers any more."""
        with self.site.lock:
            self.shared.clear()
            if self.site.living.pop(self.here, None) is not None:
                self.site._clear(self.here)


@dataclass(slots=True)
class LocalWill:
    """A will. `due` is None while it is armed, 0 while it is published, and else when it is due, by time.monotonic."""

    kept: KeptWill
    owner: int | None
    delay: int
    due: float | None = None

    def wait(self, seconds: int) -> None:
        """Let it be due after `seconds`."""
        self.due = time.monotonic() + seconds if seconds else 0


class LocalWills:
    """The wills as one server sees them: see `KeptWills`."""

    def __init__(self, servers: LocalServers) -> None:
        self._servers = servers
        self._site = servers.site

    def arm(self, will: KeptWill) -> None:
        """Store a will, unless its connection has lost its name."""
        self._servers.reach()
        place = will.server, will.connection
        with self._site.lock:
            if place in self._site.held:
                self._site.wills[place] = LocalWill(will, self._servers.here, will.delay)

    def connected(self, client: str, *, clean: bool) -> list[KeptWill]:
        """Drop or take the client's wills."""
        self._servers.reach()
        here, found = self._servers.here, list[KeptWill]()
        with self._site.lock:
            for place, each in list(self._site.wills.items()):
                if each.kept.client != client or each.due == 0:
                    continue
                if clean and each.due is not None:
                    each.due, each.owner = 0, here
                    found.append(each.kept)
                elif clean:
                    each.delay = 0
                elif each.delay:
                    del self._site.wills[place]
        return found

    def _mine(self, server: int, connection: int) -> LocalWill | None:
        self._servers.reach()
        found = self._site.wills.get((server, connection))
        return found if found is not None and found.owner == self._servers.here else None

    def lost(self, connection: int, seconds: int) -> int | None:
        """Make a will due."""
        with self._site.lock:
            will = self._mine(self._servers.here, connection)
            if will is None or will.due is not None:
                return None
            seconds = min(seconds, will.delay)
            will.wait(seconds)
            return seconds

    def take(self, server: int, connection: int) -> bool:
        """Begin to publish a will."""
        with self._site.lock:
            will = self._mine(server, connection)
            if will is None or will.due is None:
                return False
            will.due = 0
            return True

    def forget(self, server: int, connection: int) -> bool:
        """Remove a will."""
        with self._site.lock:
            mine = self._mine(server, connection) is not None
            if mine:
                del self._site.wills[server, connection]
            return mine

    def adopt(self) -> list[tuple[KeptWill, float]]:
        """Take the wills that nobody has."""
        self._servers.reach()
        adopted = []
        with self._site.lock:
            for each in self._site.wills.values():
                if each.owner is None:
                    each.owner = self._servers.here
                    if each.due is None:
                        each.due = time.monotonic() + each.delay
                    adopted.append((each.kept, max(0.0, each.due - time.monotonic())))
        return adopted

    def restore(self, connections: Collection[int]) -> None:
        """Arm wills again."""
        self._servers.reach()
        here = self._servers.here
        with self._site.lock:
            for (server, connection), each in self._site.wills.items():
                if server == here and connection in connections and each.due != 0:
                    each.owner, each.due = here, None
