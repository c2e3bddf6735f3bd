"""Floor 0: a send that keeps hold of the interpreter.

Python lets go of the interpreter around each system call, which is right where a call may take long. A send that does
not block takes some microseconds; if the one who gets it answers at once, that answer wakes a thread, which takes the
interpreter in just that moment, and to have it back takes a hundred. So with ten subscribers that acknowledge, the
tenth had its message a millisecond late.
"""

from __future__ import annotations

import ctypes
import socket

_FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_LONG = 16_384  # bytes whose copy takes so long that others may well run meanwhile

_send = ctypes.PyDLL(None).send  # send(2)
_send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_send.restype = ctypes.c_ssize_t


def send_in_one_go(sock: socket.socket, data: bytes | memoryview) -> int:
    """Send without blocking, as `sock.send`, on a socket that nobody closes meanwhile. Raises OSError as that does."""
    size = len(data)
    if size < _LONG and type(data) is bytes:
        taken: int = _send(sock.fileno(), data, size, _FLAGS)
        if taken >= 0:
            return taken
    return sock.send(data, _FLAGS)  # which says what is wrong, too
