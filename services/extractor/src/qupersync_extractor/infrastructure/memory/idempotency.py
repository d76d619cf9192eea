"""Requests that act once, in memory."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from qupersync_extractor.application.idempotency import (
    GIVEN_UP,
    KEPT,
    Another,
    Answer,
    Answered,
    Claim,
    Claimed,
    UnderWay,
)


@dataclass(slots=True)
class _Request:
    digest: bytes
    made_at: datetime
    answer: Answer | None = None


class MemoryRequests:
    """Requests by caller and key, by the given clock."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._requests: dict[tuple[str, str], _Request] = {}

    async def claim(self, key: str, *, by: str, digest: bytes) -> Claim:
        now, known = self._now(), self._requests.get((by, key))
        if known is not None:
            age = now - known.made_at
            given_up = known.answer is None and age > GIVEN_UP and known.digest == digest
            if age <= KEPT and not given_up:
                return _found(known, digest)
        self._requests[by, key] = _Request(digest, now)
        return Claimed()

    async def answer(self, key: str, *, by: str, answer: Answer) -> None:
        if (known := self._requests.get((by, key))) is not None:
            known.answer = answer

    async def release(self, key: str, *, by: str) -> None:
        known = self._requests.get((by, key))
        if known is not None and known.answer is None:
            del self._requests[by, key]

    async def forget(self, *, older_than: timedelta = KEPT) -> int:
        border = self._now() - older_than
        old = [name for name, request in self._requests.items() if request.made_at < border]
        for name in old:
            del self._requests[name]
        return len(old)


def _found(known: _Request, digest: bytes) -> Claim:
    if known.digest != digest:
        return Another()
    return UnderWay() if known.answer is None else Answered(known.answer)
