"""Where the pages of a pipeline are: extracted, published, applied by every loader group. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from qupersync_shared.kernel.ids import GroupName, Log, PipelineName, Sequence


class Hop(StrEnum):
    """What a page goes through after it was extracted."""

    PUBLISHED = "published"
    APPLIED = "applied"


class PageState(StrEnum):
    """How far a page has come. `superseded`: its log is over, and what it said is said again in a later one.

    `applied`: by every group; of a log that is over, by every one that has applied anything of it.
    """

    EXTRACTED = "extracted"
    PUBLISHED = "published"
    APPLIED = "applied"
    SUPERSEDED = "superseded"

    @property
    def waits(self) -> bool:
        """Whether a loader group has yet to apply it."""
        return self in (PageState.EXTRACTED, PageState.PUBLISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A page, and when it was extracted, published or applied; `at` None where the ledger does not go back that far.

    Sequence 0 is the place before a log's first page.
    """

    log: Log
    sequence: Sequence
    at: datetime | None = None

    @property
    def place(self) -> tuple[Log, Sequence]:
        """What orders such places: the log, then the sequence."""
        return self.log, self.sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The oldest page that is not applied everywhere: the hop it waits for, the groups that lack it, since when.

    `since` is when the page was extracted; None where the ledger does not go back that far.
    """

    log: Log
    sequence: Sequence
    hop: Hop
    groups: tuple[GroupName, ...]
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Where a pipeline's pages are, by the outbox database's clock, as of `as_of`.

    `pages_waiting` counts the pages of the current log that are not applied by every group. `in_sync`: everything that
    was extracted is applied by every group, and nothing keeps more from being extracted. `sentence` says it in words.
    """

    pipeline: PipelineName
    as_of: datetime
    in_sync: bool
    sentence: str
    extracted: Reached | None = None
    published: Reached | None = None
    applied: Mapping[GroupName, Reached] = field(default_factory=dict)
    pages_waiting: int = 0
    waiting: Waiting | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of a pipeline's pages: the last one extracted, the last one published by all lanes, each group's.

    `next_at` is when the page behind `passed` was extracted. `trouble` keeps pages from being extracted.
    """

    pipeline: PipelineName
    as_of: datetime
    extracted: Reached
    published: Reached
    groups: Mapping[GroupName, Reached] = field(default_factory=dict)
    next_at: datetime | None = None
    trouble: str | None = None
    paused: bool = False
    snapshotting: bool = False

    @property
    def passed(self) -> Sequence:
        """The last page of the current log that every group has applied; 0 where there is no group."""
        return passed(self.extracted.log, self.groups)


def passed(log: Log, groups: Mapping[GroupName, Reached]) -> Sequence:
    """The last page of a log that each of these groups has applied; 0 where there is none."""
    return min((applied_in(log, reached) for reached in groups.values()), default=Sequence(0))


def applied_in(log: Log, reached: Reached) -> Sequence:
    """How far into a log a group has come: not at all while it is in an older one."""
    return reached.sequence if reached.log == log else Sequence(0)


def whereabouts(standing: Standing) -> Whereabouts:
    """The answer to: is it in sync, and if not, where is it?"""
    log, last = standing.extracted.place
    beyond = _beyond(standing)
    count = 0 if beyond else max(0, last - standing.passed)
    in_sync = last > 0 and count == 0 and bool(standing.groups) and not beyond and not _held_up(standing)
    waiting = None
    if count:
        first = Sequence(standing.passed + 1)
        lacking = tuple(sorted(g for g, reached in standing.groups.items() if applied_in(log, reached) < first))
        waiting = Waiting(
            log=log,
            sequence=first,
            hop=Hop.PUBLISHED if standing.published.sequence < first else Hop.APPLIED,
            groups=lacking,
            since=standing.next_at,
        )
    return Whereabouts(
        pipeline=standing.pipeline,
        as_of=standing.as_of,
        in_sync=in_sync,
        sentence=_sentence(standing, count, waiting, in_sync=in_sync),
        extracted=standing.extracted if last else None,
        published=standing.published if standing.published.sequence else None,
        applied=dict(sorted(standing.groups.items())),
        pages_waiting=count,
        waiting=waiting,
    )


def never_run(pipeline: PipelineName, as_of: datetime) -> Whereabouts:
    """Of a pipeline that no extractor has ever taken up."""
    return Whereabouts(pipeline=pipeline, as_of=as_of, in_sync=False, sentence="it has never run")


def _beyond(standing: Standing) -> list[GroupName]:
    """The groups that have applied what this database knows nothing of: it went back."""
    return sorted(group for group, reached in standing.groups.items() if reached.place > standing.extracted.place)


def _held_up(standing: Standing) -> str | None:
    """What keeps pages from being extracted, or from being all there is."""
    if standing.paused:
        return "the pipeline is paused"
    if standing.trouble is not None:
        return f"nothing more is extracted: {standing.trouble}"
    return "a snapshot is under way" if standing.snapshotting else None


def _sentence(standing: Standing, count: int, waiting: Waiting | None, *, in_sync: bool) -> str:
    log, last = standing.extracted.place
    beyond = _beyond(standing)
    if beyond:
        said = (
            f"{_listed(beyond)} applied pages beyond page {last:,} of log {log}, which this database knows nothing of: "
            "the next run opens a greater log"
        )
    elif not last:
        said = f"log {log} has no page yet"
    elif not standing.groups:
        said = f"{_pages(last, 'of', 'of')} log {log}: no loader group has applied anything yet"
    elif waiting is None:
        all_of_them = "the only page of" if last == 1 else f"all {last:,} pages of"
        said = f"{'in sync: ' if in_sync else ''}{all_of_them} log {log} {'is' if last == 1 else 'are'} applied by "
        said += _listed(standing.groups)
    else:
        said = _waits(standing, count, waiting)
    held_up = _held_up(standing)
    return said if held_up is None else f"{said}; {held_up}"


def _waits(standing: Standing, count: int, waiting: Waiting) -> str:
    unpublished = max(0, standing.extracted.sequence - max(standing.published.sequence, standing.passed))
    since = "" if waiting.since is None else f", the oldest for {_lasting(standing.as_of - waiting.since)}"
    if waiting.hop is Hop.PUBLISHED:
        return f"{_pages(count, 'waits', 'wait')} to be published{since}"
    first = f" ({unpublished:,} of them to be published first)" if unpublished else ""
    return f"{_pages(count, 'waits', 'wait')} to be loaded by {_listed(waiting.groups)}{first}{since}"


def _pages(count: int, one: str, many: str) -> str:
    return f"{count:,} page {one}" if count == 1 else f"{count:,} pages {many}"


def _listed(groups: Mapping[GroupName, Reached] | tuple[GroupName, ...] | list[GroupName]) -> str:
    names = sorted(groups)
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _lasting(time: timedelta) -> str:
    seconds = max(0, int(time.total_seconds()))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
