"""Facts that a source says once and forgets: system views keep a few days, and what they said stays true."""

import json
from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

JSON = str | int | float | bool | list[Any] | dict[str, Any] | None
Facts = dict[str, JSON]

KEYS_MAX: Final = 200_000  # of one subject; a cluster holds no more tables
KEY_BYTES_MAX: Final = 500
FACTS_BYTES_MAX: Final = 2_000
USED_EVERY_HOURS: Final = 24


class Remembered(Protocol):
    """Small facts by key; each call is a transaction of its own.

    DatabaseUnavailableError (transient) where the database is the reason. A subject names what its keys are keys of,
    the source included: two clusters number their tables alike.

    Bounded: a subject has at most `KEYS_MAX` keys. Beyond, those go first that were neither recalled nor remembered
    for longest (counted in days, so that recalling writes nothing most of the time).
    """

    async def recall(self, subject: str, keys: Collection[str]) -> dict[str, Facts]:
        """What was last remembered of these keys; those of which nothing is known are absent."""
        ...

    async def remember(self, subject: str, facts: Mapping[str, Mapping[str, JSON]]) -> None:
        """From now on these are the facts of these keys, in place of earlier ones. All of them or none.

        ValueError, and nothing is kept, where a key or its facts are over their limit or cannot be written as JSON.
        """
        ...


def checked(facts: Mapping[str, Mapping[str, JSON]]) -> dict[str, Facts]:
    """The facts, sorted by key; ValueError names the first key that is refused and why."""
    kept: dict[str, Facts] = {}
    for key, said in sorted(facts.items()):
        if not key or "\0" in key or len(key.encode()) > KEY_BYTES_MAX:
            raise ValueError(f"key {key[:80]!r} is empty, holds NUL or is over {KEY_BYTES_MAX} bytes")
        try:
            text = json.dumps(said, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the facts of {key!r} cannot be written as JSON: {error}") from None
        if "\\u0000" in text:
            raise ValueError(f"the facts of {key!r} hold NUL, which no database keeps")
        if len(text) > FACTS_BYTES_MAX:
            raise ValueError(f"the facts of {key!r} take {len(text)} bytes: {FACTS_BYTES_MAX} are kept")
        kept[key] = json.loads(text)
    return kept
