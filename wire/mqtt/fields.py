"""Floor 0: the data types of MQTT packets (3.1.1 §1.5, 5 §1.5): reading and writing."""

from __future__ import annotations

from .bounds import UNBOUNDED, Bounds
from .codes import malformed

LARGEST_VARINT = 268_435_455  # four bytes of seven bits


class Reader:
    """The body of a packet, read field by field. Each method returns the next field, or raises MqttError.

    `first` is the first byte of the packet. `version`, `from_client` and `bounds` also decide what is legal in it.
    """

    __slots__ = ("_data", "at", "bounds", "end", "first", "from_client", "version")

    def __init__(self, data: bytes, first: int, version: int, from_client: bool, bounds: Bounds = UNBOUNDED) -> None:
        self._data = data
        self.bounds = bounds
        self.first = first
        self.at = 0
        self.end = len(data)
        self.version = version
        self.from_client = from_client

    def _past(self, size: int) -> int:
        """Skip a field of `size` bytes. Return its start."""
        start = self.at
        self.at = start + size
        if self.at > self.end:
            raise malformed("The packet ends in the middle of a field.")
        return start

    def rest(self) -> bytes:
        start = self._past(self.end - self.at)
        return self._data[start : self.at]

    def byte(self) -> int:
        return self._data[self._past(1)]

    def uint16(self) -> int:
        start = self._past(2)
        return self._data[start] << 8 | self._data[start + 1]

    def uint32(self) -> int:
        return self.uint16() << 16 | self.uint16()

    def varint(self) -> int:
        """Read a Variable Byte Integer (5 §1.5.5); the decoder reads the remaining length of a packet."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise malformed("A variable byte integer has more bytes than necessary.")  # [MQTT-1.5.5-1]
                return value
        raise malformed("A variable byte integer has more than four bytes.")

    def binary(self) -> bytes:
        start = self._past(self.uint16())
        return self._data[start : self.at]

    def text(self) -> str:
        """Read a UTF-8 string. Control characters and non-characters are legal: to close for them is a MAY."""
        try:
            # Strict decoding refuses surrogates and overlong forms, and keeps U+FEFF, as the three statements require:
            # 3.1.1 [MQTT-1.5.3-1] to -3, 5 [MQTT-1.5.4-1] to -3.
            text = self.binary().decode()
        except UnicodeDecodeError:
            raise malformed("A string is not well-formed UTF-8.") from None
        if "\0" in text:  # 3.1.1 [MQTT-1.5.3-2], 5 [MQTT-1.5.4-2]
            raise malformed("A string contains the character U+0000.")
        return text

    def pair(self) -> tuple[str, str]:
        return self.text(), self.text()

    def done(self) -> None:
        """Check that nothing follows the last field: the remaining length counts the bytes of the packet (§2.1.4)."""
        if self.at != self.end:
            raise malformed("The packet goes on after its last field.")


def varint(value: int) -> bytes:
    """Return a Variable Byte Integer in the fewest bytes. Raises ValueError if it does not fit into four."""
    if not 0 <= value <= LARGEST_VARINT:
        raise ValueError(f"MQTT has no variable byte integer of {value:,}")
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def uint16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def uint32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def binary(data: bytes) -> bytes:
    """Return Binary Data: the length and the bytes. Raises ValueError over 65,535 bytes."""
    if len(data) > 0xFFFF:
        raise ValueError(f"a field of MQTT has at most 65,535 bytes, not {len(data):,}")
    return uint16(len(data)) + data


def text(value: str) -> bytes:
    """Return a UTF-8 Encoded String: the length and the bytes. Raises ValueError if MQTT cannot carry it."""
    if "\0" in value:
        raise ValueError("a string of MQTT cannot contain U+0000")
    return binary(value.encode())


def pair(value: tuple[str, str]) -> bytes:
    return text(value[0]) + text(value[1])
