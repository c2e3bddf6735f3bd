"""Floor 0: a non-blocking send that holds the interpreter lock (GIL).

Python releases the lock around each system call, which is right where a call may take long. A send that does not block
takes some microseconds. If its receiver answers at once, the answer wakes a thread that takes the lock, and the sender
waits a hundred microseconds to get it back: with ten subscribers that acknowledge, the tenth had its message a
millisecond late.
"""

from __future__ import annotations

import ctypes
import socket

_FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_LONG = 16_384  # bytes whose copy takes so long that other threads may well run meanwhile

_send = ctypes.PyDLL(None).send  # send(2); PyDLL holds the lock, CDLL releases it
_send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_send.restype = ctypes.c_ssize_t


def send_holding_gil(sock: socket.socket, data: bytes | memoryview) -> int:
    """Send without blocking, as `sock.send` does; return how many bytes the kernel took. Raises OSError as that does.

    No other thread may close the socket meanwhile. Views, and data of 16 KiB or more, go by `sock.send` itself.
    """
    size = len(data)
    if size < _LONG and type(data) is bytes:
        taken: int = _send(sock.fileno(), data, size, _FLAGS)
        if taken >= 0:
            return taken
    return sock.send(data, _FLAGS)  # and raises what is wrong
