"""The ledger: for every page when it was extracted, published by all lanes, and applied by each loader group."""

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from qupersync_extractor.domain.whereabouts import PageState, Whereabouts
from qupersync_shared.kernel.ids import GroupName, Log, PipelineName, RunId, Sequence
from qupersync_shared.runtime.records import Field, Listing, Match, Page, Query

LISTING: Final = Listing(
    name="pages",
    filters={
        "pipeline": Field(attribute="pipeline"),
        "log": Field(attribute="log", parse=int),
        "state": Field(attribute="state", parse=PageState),
        "mode": Field(attribute="mode"),
        "run": Field(attribute="run", parse=UUID),
        "since": Field(attribute="extracted_at", match=Match.SINCE, parse=datetime.fromisoformat),
        "before": Field(attribute="extracted_at", match=Match.BEFORE, parse=datetime.fromisoformat),
    },
    sorts={"extracted_at": ("extracted_at",), "sequence": ("pipeline", "log", "sequence")},
    identity="number",
    default_sort="-extracted_at",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One page. `published_at` None: not by all lanes yet; `applied` has the groups that have applied it, and when.

    `waits_for` names the groups that have not. An idle pipeline's empty pages have the mode `heartbeat` and no run.
    `number` tells entries apart.
    """

    number: int
    pipeline: PipelineName
    log: Log
    sequence: Sequence
    state: PageState
    run: RunId | None
    mode: str
    rows: int
    bytes: int
    extracted_at: datetime
    published_at: datetime | None = None
    applied: Mapping[GroupName, datetime] = field(default_factory=dict)
    waits_for: tuple[GroupName, ...] = ()

    @property
    def publish_seconds(self) -> float | None:
        """How long it took from extracted to published."""
        return _seconds(self.extracted_at, self.published_at)

    @property
    def apply_seconds(self) -> Mapping[GroupName, float]:
        """How long it took each group from published to applied."""
        began = self.published_at or self.extracted_at
        return {group: _seconds(began, at) or 0.0 for group, at in self.applied.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedTimes:
    """When a page passed its hops, in their order: what was applied had been published, and extracted before that."""

    published_at: datetime | None
    applied: Mapping[GroupName, datetime]
    lacking: tuple[GroupName, ...]


def passed_times(
    extracted_at: datetime, published_at: datetime | None, groups: Mapping[GroupName, datetime | None]
) -> PassedTimes:
    """The times that marks say, which several clocks have told and looks of a second's distance have seen."""
    applied = {group: max(at, extracted_at) for group, at in groups.items() if at is not None}
    known = [at for at in (published_at, *applied.values()) if at is not None]
    return PassedTimes(
        published_at=max(min(known), extracted_at) if known else None,
        applied=applied,
        lacking=tuple(group for group, at in groups.items() if at is None),
    )


def _seconds(began: datetime, ended: datetime | None) -> float | None:
    return None if ended is None else max(0.0, (ended - began).total_seconds())


class Ledger(Protocol):
    """What became of every page; each call is a transaction of its own."""

    async def pages(self, query: Query) -> Page[LedgerEntry]:
        """Pages as `LISTING` allows to ask for them, the newest first."""
        ...

    async def whereabouts(self, pipelines: SequenceOf[PipelineName]) -> dict[PipelineName, Whereabouts]:
        """Where the pages of each of these pipelines are, as of one moment; in a few statements."""
        ...

    async def forget(self, *, older_than: timedelta) -> int:
        """Removes pages that were extracted longer ago, unless they wait to be applied; how many there were."""
        ...
