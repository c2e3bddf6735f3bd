"""Floor 0: bytes to frames and back, without I/O, shared by the server and its clients."""

VERSION = "0.1.0"
