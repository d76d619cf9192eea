"""The source quarantine: rows that no event can carry, and what became of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from qupersync_shared.contracts.parked import ReasonTold
from qupersync_shared.kernel.ids import EventId, PipelineName

ID_DIGITS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WithheldRow:
    """A row that no event can carry (too large, or with a value beyond its type), its key listed in the event."""

    pipeline: PipelineName
    key: str
    reason: str
    event_id: EventId


class Resolution(StrEnum):
    """How a withheld row was settled: a later page carried it, or said that it is gone, or a person gave it up."""

    SENT = "sent"
    GONE = "gone"
    DISCARDED = "discarded"


class SourceQuarantine(Protocol):
    """Rows that no event can carry, inside a unit of work."""

    async def add(self, rows: Sequence[WithheldRow]) -> None:
        """Records the rows, once per key; one that was resolved before is unresolved again."""
        ...

    async def unresolved(self, pipeline: PipelineName) -> list[str]:
        """The encoded keys that wait to be settled, a bounded number of them: first those withheld longest ago.

        What is withheld again and again goes to the end: however much it is, all others have their turn.
        """
        ...

    async def resolve(self, pipeline: PipelineName, settled: Mapping[str, Resolution]) -> None:
        """Marks these keys as settled; those that are so already, or unknown, stay as they are."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedRow:
    """A withheld row as people see it; `id` names it for ever. Moments are by the database's clock."""

    id: str
    pipeline: PipelineName
    key: str
    reason: str
    event_id: EventId
    times: int
    first_seen_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None = None
    resolution: Resolution | None = None


def row_id(pipeline: PipelineName, key: str) -> str:
    """The id of a row that is known by its pipeline and its encoded key."""
    return f"{pipeline}-{hashlib.sha256(key.encode()).hexdigest()[:ID_DIGITS]}"


class WithheldRows(Protocol):
    """The source quarantine as people and maintenance see it; each call is a transaction of its own."""

    async def page(
        self,
        *,
        pipelines: Sequence[PipelineName],
        resolved: bool,
        after: str | None,
        limit: int,
        reason: str | None = None,
    ) -> tuple[list[QuarantinedRow], int]:
        """Rows in the order of their ids behind the row `after`, and how many more there are.

        Of all pipelines if none is named; settled ones too if `resolved`; of one kind of `reason`, if that is given.
        """
        ...

    async def reasons(self, pipeline: PipelineName) -> tuple[list[ReasonTold], int]:
        """The pipeline's rows that wait, by kinds of reasons, the most frequent first; and how many rows that is with
        all others.
        """
        ...

    async def counts(self, pipelines: Sequence[PipelineName]) -> dict[PipelineName, int]:
        """How many rows wait, of each of the pipelines that has any."""
        ...

    async def keys(self, pipeline: PipelineName) -> frozenset[str]:
        """The keys, encoded, of the pipeline's rows that wait to be settled; a bounded number of them."""
        ...

    async def find(self, ids: Sequence[str]) -> list[QuarantinedRow]:
        """Those of the rows that are known, in the order of their ids."""
        ...

    async def discard(self, ids: Sequence[str]) -> list[str]:
        """Gives rows up that wait to be settled; their ids."""
        ...

    async def forget(self, *, older_than: timedelta) -> int:
        """Removes rows that were settled longer ago; how many there were."""
        ...
