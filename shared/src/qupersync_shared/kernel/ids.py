"""Identifiers: NewTypes for what must not be mixed up, and UUIDv7 (RFC 9562) made here."""

import os
import threading
import time
from typing import NewType
from uuid import UUID

PipelineName = NewType("PipelineName", str)
GroupName = NewType("GroupName", str)
Lane = NewType("Lane", int)
Log = NewType("Log", int)
Sequence = NewType("Sequence", int)
Generation = NewType("Generation", int)
StreamSequence = NewType("StreamSequence", int)
FencingToken = NewType("FencingToken", int)
EventId = NewType("EventId", UUID)
RunId = NewType("RunId", UUID)
SnapshotId = NewType("SnapshotId", UUID)

_lock = threading.Lock()
_last = 0


def uuid7() -> UUID:
    """A UUIDv7: 48 bits of milliseconds, then 12 bits that count up within a millisecond, then 62 random bits.

    Ids made by one process ascend strictly, even when the clock steps back.
    """
    global _last  # noqa: PLW0603  # one counter for the process is the point
    with _lock:
        tick = (time.time_ns() // 1_000_000) << 12
        _last = max(_last + 1, tick)
        milliseconds, counter = _last >> 12, _last & 0xFFF
    tail = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    return UUID(int=(milliseconds & ((1 << 48) - 1)) << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | tail)
