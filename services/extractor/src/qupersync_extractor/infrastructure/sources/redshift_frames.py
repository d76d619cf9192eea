"""The rows of a result as they stand on the wire: one buffer and where each row begins, without an object for each row.

The driver reads frame by frame and makes Python values at once. Here its reader is replaced on the connection's
instance: rows stay where they were received, everything else goes to the driver's own handlers.
"""

import socket
import ssl
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from struct import Struct
from typing import Any, Final

from redshift_connector.error import InterfaceError
from redshift_connector.version import __version__

from qupersync_shared.runtime.logs import get_logger

_log = get_logger(__name__)

# What is replaced and relied upon was read in these versions; any other one keeps the driver's own reader.
KNOWN_VERSIONS: Final = frozenset({"2.2.0"})
_CHUNK: Final = 1 << 20
_HEADER: Final = 5  # a letter, and a length that counts itself
_DATA_ROW: Final = ord("D")
_READY: Final = ord("Z")
_FRAME_BYTES_MAX: Final = 1 << 30
_LENGTH: Final[Callable[[bytearray, int], tuple[int]]] = Struct("!I").unpack_from


@dataclass(frozen=True, slots=True)
class RawRows:
    """Rows received: the body of row n, its column count first, is `buffer[starts[n]:ends[n]]`."""

    buffer: bytearray
    starts: "array[int]"
    ends: "array[int]"

    def __len__(self) -> int:
        return len(self.starts)

    def body(self, index: int) -> bytes:
        """One row as the driver's own handler takes it."""
        return bytes(self.buffer[self.starts[index] : self.ends[index]])


class FrameReader:
    """Reads for one connection from now on. `rows` are those of the statement that was answered last."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._socket: socket.socket = connection._usock  # noqa: SLF001  # the driver has no other way
        self._buffer = bytearray(_CHUNK)
        self._end = 0
        self.rows = RawRows(bytearray(), array("q"), array("q"))
        self._begin_with(_already_read(connection))

    @classmethod
    def install(cls, connection: Any) -> "FrameReader | None":
        """The reader of this connection from now on; None, and nothing changed, where the driver is an unknown one."""
        if __version__ not in KNOWN_VERSIONS:
            _warn_once()
            return None
        reader = cls(connection)
        connection.handle_messages = reader.read
        return reader

    def _begin_with(self, received: bytes) -> None:
        self._buffer[: len(received)] = received
        self._end = len(received)

    def read(self, cursor: Any) -> None:
        """What the driver's `handle_messages` does: everything up to ReadyForQuery, then the server's error if any."""
        connection = self._connection
        connection.error = None
        buffer, position = self._buffer, 0
        starts, ends = array("q"), array("q")
        while True:
            end = self._end
            while position + _HEADER <= end:
                (length,) = _LENGTH(buffer, position + 1)
                after = position + 1 + length
                if length < _HEADER - 1 or length > _FRAME_BYTES_MAX:
                    raise InterfaceError(f"a frame of {length} bytes: not the protocol")
                if after > end:
                    break
                letter = buffer[position]
                if letter == _DATA_ROW:
                    starts.append(position + _HEADER)
                    ends.append(after)
                else:
                    body = bytes(buffer[position + _HEADER : after])
                    connection.message_types[bytes((letter,))](body, cursor)
                position = after
                if letter == _READY:
                    self._keep(position, RawRows(buffer, starts, ends))
                    if connection.error is not None:
                        raise connection.error
                    return
            self._receive()

    def _receive(self) -> None:
        if self._end == len(self._buffer):
            self._buffer.extend(bytes(max(_CHUNK, len(self._buffer) // 2)))
        with memoryview(self._buffer) as view:
            count = self._socket.recv_into(view[self._end :])
        if count == 0:
            raise InterfaceError("BrokenPipe: server socket closed")
        self._end += count

    def _keep(self, position: int, rows: RawRows) -> None:
        """The rows keep the buffer they stand in, and what came after them begins another."""
        rest = bytes(self._buffer[position : self._end])
        if len(rows):
            self._buffer = bytearray(max(_CHUNK, len(rest)))
            self.rows = rows
        else:
            self.rows = RawRows(bytearray(), rows.starts, rows.ends)
        self._begin_with(rest)


@cache
def _warn_once() -> None:
    _log.warning("redshift_rows_read_slowly", driver=__version__, known=", ".join(sorted(KNOWN_VERSIONS)))


def _already_read(connection: Any) -> bytes:
    """What the driver's own buffer holds beyond the answer it was reading; waits for nothing."""
    reader, usock = connection._sock, connection._usock  # noqa: SLF001  # the driver has no other way
    patience = usock.gettimeout()
    usock.settimeout(0)
    try:
        ahead = len(reader.peek())
    except ssl.SSLWantReadError:
        ahead = 0
    finally:
        usock.settimeout(patience)
    return bytes(reader.read(ahead)) if ahead else b""
