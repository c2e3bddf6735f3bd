"""Floor 3: the door: the listening sockets, a thread that accepts on each, and all connections."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections import Counter
from contextlib import suppress

from channels import CONNECTIONS, Chat, Origin
from net import (
    KeepAlive,
    NetError,
    WritePump,
    disable_nagle,
    format_address,
    host_of,
    listen,
    network_of,
    release_free_memory,
)
from reporting import events, report
from wire.errors import LocalError, Refused
from wire.frames import Closing

from .connection import Connection, Introduction
from .proxies import Proxies
from .speaker import Speakers
from .tls import ServerTls

_BACKLOG = 4_096  # connections that wait for `accept`; the system may allow fewer
_PATIENCE = 1.0  # seconds in which at least one connection has to end, when the server goes down
_LONGEST = 30.0  # seconds, at most, for the connections to end by themselves then
_OUT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_STACK = 512 << 10  # bytes of address space for the stack of a connection's thread; unused pages take no memory
_CROWD = 64  # connections at a time, after which freed memory goes back to the system at each half that ends
_FEW = 8  # connections that are left of a crowd, after which memory goes back once more: when they have left, too
_ENDED = 1_000  # connections that end, one after the other, before freed memory goes back to the system
_COLLECTED = 500  # connections at most during a collection of garbage: for so many it takes some milliseconds
_KEEP_ALIVE = KeepAlive(idle=60, interval=20, probes=3, limit_sends=True)  # ends a dead connection after 120 s


class Door:
    """Owns the listening sockets, their threads, the write pump, and every connection."""

    def __init__(self, chat: Chat, tls: ServerTls | None = None, proxies: Proxies | None = None) -> None:
        """Without `tls`, no port speaks TLS. Connections from `proxies` begin with a header, and no others do."""
        self._chat = chat
        self._tls = tls
        self._proxies = proxies or Proxies()
        self.pump = WritePump()
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._by_network: Counter[str] = Counter()
        self._most = 0  # connections at a time, since memory was last given back to the system
        self._crowd = False  # there were many, and not all of them have left
        self._ended = 0  # connections, since then
        self._listeners: list[tuple[socket.socket, threading.Thread]] = []
        self._empty = threading.Event()
        self._closing = False
        threading.stack_size(_STACK)

    def open(self, host: str, port: int, speakers: Speakers) -> str:
        """Listen on a port (0: any free one), and return the address as `host:port`. Raises LocalError."""
        try:
            listener = listen(host, port, _BACKLOG)
            disable_nagle(listener)  # the connections inherit both from their listener
            _KEEP_ALIVE.apply(listener)
        except NetError as error:
            raise LocalError(str(error)) from error
        address = format_address(*listener.getsockname()[:2])
        thread = threading.Thread(target=self._accept, args=(listener, speakers), name=f"door-{address}", daemon=True)
        self._listeners.append((listener, thread))
        thread.start()
        return address

    def _accept(self, listener: socket.socket, speakers: Speakers) -> None:
        """Accept until the listener is shut down. Runs in the thread `door-…`."""
        while self._accept_one(listener, speakers):
            pass

    def _accept_one(self, listener: socket.socket, speakers: Speakers) -> bool:
        """Accept a connection. Return False if the listener is shut down. The door's thread keeps nothing of it."""
        try:
            sock, peer = listener.accept()
        except OSError as error:
            if self._closing:
                return False
            if error.errno in _OUT_OF:
                # The listener stays readable, so without a pause this loop would spin until a connection ends.
                report(events.AcceptFailed(error.strerror or str(error)))
                self._empty.wait(1.0)
            return True
        address = format_address(*peer[:2])
        try:
            self._admit(sock, address, speakers)
        except Exception as error:  # noqa: BLE001 - reported; it ends this connection only
            consequence = "The connection was closed."
            report(events.InternalError(host_of(address), "door", consequence), error)
            sock.close()
        return True

    def _admit(self, sock: socket.socket, address: str, speakers: Speakers) -> None:
        introduction = Introduction(self._proxies, self._introduce) if self._proxies.include(host_of(address)) else None
        if introduction is None and (too_fast := self._too_fast(address)) is not None:
            self._refuse(sock, address, too_fast, speakers)  # before anything is made for it: the next ones wait
            return
        limits = self._chat.limits
        connection = Connection(
            sock, address, self._chat, self.pump, speakers, self._tls, self._forget, introduction, self._trust
        )
        with self._lock:
            if len(self._connections) >= limits.connections:
                refusal: Closing | None = _full()
            else:
                refusal = self._count_locked(connection) if introduction is None else None
                if refusal is None:
                    self._connections.add(connection)
                    self._most = max(self._most, len(self._connections))
                    self._crowd |= self._most >= _CROWD
        if refusal is None:
            try:
                connection.thread.start()
                return
            except RuntimeError as error:
                report(events.ThreadFailed(host_of(address), str(error)))
                self._forget(connection)
                refusal = _full()
        self._refuse(sock, address, refusal, speakers)

    @staticmethod
    def _refuse(sock: socket.socket, address: str, refusal: Closing, speakers: Speakers) -> None:
        """Send the reason, if the port has a form for it, and close without waiting for the peer."""
        report(events.RefusedConnection(host_of(address), refusal.code or ""))
        sock.setblocking(False)
        with suppress(OSError):  # the peer has gone, or its socket takes nothing
            if speakers.refusal is not None:
                sock.send(speakers.refusal(refusal))
        sock.close()

    def _too_fast(self, address: str) -> Closing | None:
        """Return why a connection is refused if its address opens too many a second."""
        try:
            self._chat.rates.check(CONNECTIONS, Origin("", network_of(host_of(address))))
        except Refused as refused:
            return Closing(reason=refused.sentence, code=refused.code)
        return None

    def _count_locked(self, connection: Connection) -> Closing | None:
        """Count a connection for its address, or return why there are too many."""
        network, most = network_of(host_of(connection.address)), self._chat.limits.connections_per_address
        if most and self._by_network[network] >= most:
            return Closing(reason="Too many connections from your address.", code="address-full")
        self._by_network[network] += 1
        connection.network = network
        return None

    def _introduce(self, connection: Connection) -> Closing | None:
        """Count a proxy's connection for the address of the peer behind it, or return why this peer is refused.

        Called by the connection's thread.
        """
        refusal = self._too_fast(connection.address)
        if refusal is None:
            with self._lock:
                refusal = self._count_locked(connection)
        if refusal is not None:
            report(events.RefusedConnection(host_of(connection.address), refusal.code or ""))
        return refusal

    def _trust(self, connection: Connection) -> None:
        """Count a connection no longer for its address: it is that of another server, which has limits of its own."""
        network = connection.network
        self._chat.rates.give_back(CONNECTIONS, Origin("", network))
        with self._lock:
            connection.network = ""
            self._leave_locked(network)

    def _leave_locked(self, network: str) -> None:
        if network:
            self._by_network[network] -= 1
            if not self._by_network[network]:
                del self._by_network[network]

    def _forget(self, connection: Connection) -> None:
        """Count a connection no longer, and give the memory of a crowd back that has left.

        Called by the connection's thread as the last thing it does.
        """
        network = connection.network
        with self._lock:
            self._connections.discard(connection)
            self._leave_locked(network)
            if not self._connections and self._closing:
                self._empty.set()
            left = len(self._connections)
            releases = self._enough_ended_locked(left) and not self._closing
        if releases:
            self._chat.store.release_memory()
            release_free_memory(collect=left <= _COLLECTED)

    def _enough_ended_locked(self, left: int) -> bool:
        """Count a connection that has ended. Return True if freed memory is to go back to the system now."""
        self._ended += 1
        half_of_crowd = self._crowd and left <= self._most // 2 and (self._most > _FEW or not left)
        if not half_of_crowd and self._ended < _ENDED:
            return False
        self._most, self._ended = left, 0
        self._crowd &= left > 0
        return True

    def close(self) -> None:
        """Stop listening, let every connection finish what has come and tell its peer, and end all threads.

        A connection that does not end by itself is cut off, after its peer was told. No-op after the first call.
        """
        if self._closing:
            return
        self._closing = True
        for listener, thread in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            listener.close()
        with self._lock:
            connections = list(self._connections)
            if not connections:
                self._empty.set()
        for connection in connections:
            connection.retire()
        late = self._wait_until_ended()
        if late:
            report(events.LateConnections(len(late)))
        for connection in late:
            connection.dismiss()
            connection.cut()
        deadline = time.monotonic() + _PATIENCE
        for connection in connections:
            connection.thread.join(max(0.0, deadline - time.monotonic()))
        self.pump.close()

    def _wait_until_ended(self) -> list[Connection]:
        """Wait for the connections as long as some of them end. Return those that have not."""
        until = time.monotonic() + _LONGEST
        with self._lock:
            left = list(self._connections)
        while left and not self._empty.wait(_PATIENCE):
            before = len(left)
            with self._lock:
                left = list(self._connections)
            if len(left) == before or time.monotonic() >= until:
                return left
        return []


def _full() -> Closing:
    return Closing(reason="The server is full; try again later.", code="server-full")
