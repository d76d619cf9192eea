"""Requests that carry a key of their caller's: the same one acts once, and is answered the same whenever it comes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

KEPT: Final = timedelta(hours=24)
# No request takes as long: one that still has no answer died with its process, and may be made again.
GIVEN_UP: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered: a status, and content that can be written as JSON."""

    status: int
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Claimed:
    """Nobody has made this request: act, then `answer` it, or `release` it where nothing was done."""


@dataclass(frozen=True, slots=True)
class Answered:
    """It was made before, and this was the answer."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class UnderWay:
    """It is being made at this moment."""


@dataclass(frozen=True, slots=True)
class Another:
    """The key was used for a request that said something else."""


Claim = Claimed | Answered | UnderWay | Another


class Requests(Protocol):
    """Requests by caller and key, kept for a day; each call is a transaction of its own."""

    async def claim(self, key: str, *, by: str, digest: bytes) -> Claim:
        """What is known of the request; `digest` is of all it says. Of several at once, one claims it."""
        ...

    async def answer(self, key: str, *, by: str, answer: Answer) -> None:
        """Keeps what was answered."""
        ...

    async def release(self, key: str, *, by: str) -> None:
        """Forgets a request that was claimed and not answered: it may be made again."""
        ...

    async def forget(self, *, older_than: timedelta = KEPT) -> int:
        """Removes requests that were made longer ago; how many there were."""
        ...
