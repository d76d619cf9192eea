"""The page of one pipeline: its lanes, its ledger, its runs, and curves of what was seen lately. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from qupersync_extractor.application.ledger import LedgerEntry
from qupersync_extractor.application.runs import RunRecord
from qupersync_extractor.interface.page.described import Described
from qupersync_extractor.interface.page.overview import Seen
from qupersync_extractor.interface.page.rows import Row, row
from qupersync_extractor.interface.page.series import Point
from qupersync_extractor.interface.page.words import age, number, rate, read_moment

MINUTES: Final = 60
_NOBODY: Final[list[tuple[str | None, Mapping[str, Any]]]] = [(None, {})]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLine:
    """How far a lane is, in the stream and in one loader group; the group is None where none has said anything."""

    lane: int
    group: str | None
    published: str | None
    applied: str | None
    waiting: int | None
    building: bool
    honest_time: datetime | None
    applied_at: datetime | None
    trouble: str | None
    generation: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A curve in words, for those who do not see it: the last value, the least and the greatest."""

    id: str
    title: str
    unit: str
    last: str
    least: str
    greatest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinePage:
    """Everything about one pipeline; None is what could not be asked."""

    row: Row
    described: Described | None
    as_of: datetime | None
    age_seconds: float | None
    ledger: Mapping[str, Any]
    control: Mapping[str, Any]
    snapshot: str | None
    owner: str | None
    lanes: tuple[LaneLine, ...]
    stream: Mapping[str, Any] | None
    comparisons: Mapping[str, Mapping[str, Any]]
    rereads: Mapping[str, Any]
    charts: tuple[Chart, ...]
    runs: tuple[RunRecord, ...] | None
    pages: tuple[LedgerEntry, ...] | None


def pipeline_page(
    seen: Seen, name: str, *, runs: Sequence[RunRecord] | None, pages: Sequence[LedgerEntry] | None
) -> PipelinePage:
    """The page of a configured pipeline; one that the document does not have yet is unknown."""
    entry: Mapping[str, Any] = (seen.document.get("pipelines") or {}).get(name) or {}
    rates = None if seen.rates is None else seen.rates.get(name, 0.0)
    extraction: Mapping[str, Any] = entry.get("extraction") or {}
    return PipelinePage(
        row=row(name, entry, seen.described.get(name), rate=rates, series=seen.series),
        described=seen.described.get(name),
        as_of=seen.as_of,
        age_seconds=seen.age_seconds,
        ledger=entry.get("ledger") or {},
        control=entry.get("control") or {},
        snapshot=extraction.get("snapshot"),
        owner=extraction.get("owner"),
        lanes=lane_lines(entry),
        stream=entry.get("stream"),
        comparisons=entry.get("verifications") or {},
        rereads=entry.get("rereads") or {},
        charts=charts(seen.series.of(name)),
        runs=None if runs is None else tuple(runs),
        pages=None if pages is None else tuple(pages),
    )


def lane_lines(entry: Mapping[str, Any]) -> tuple[LaneLine, ...]:
    """A line for every lane and loader group."""
    found: list[LaneLine] = []
    for lane in entry.get("lanes") or ():
        told: Mapping[str, Mapping[str, Any]] = lane.get("groups") or {}
        for group, progress in [*sorted(told.items())] or _NOBODY:
            found.append(
                LaneLine(
                    lane=lane["lane"],
                    group=group,
                    published=_place(lane.get("published_log"), lane.get("published_sequence")),
                    applied=_place(progress.get("log"), progress.get("sequence")),
                    waiting=_behind(lane, progress),
                    building=progress.get("building") is not None,
                    honest_time=read_moment(progress.get("honest_time")),
                    applied_at=read_moment(progress.get("applied_at")),
                    trouble=progress.get("trouble"),
                    generation=lane.get("generation"),
                )
            )
    return tuple(found)


def charts(points: Sequence[Point]) -> tuple[Chart, ...]:
    """The curves there are, with what they show in words."""

    def chart(id_: str, title: str, unit: str, values: Sequence[float | None], shown: Any) -> Chart:
        known = [value for value in values if value is not None]
        return Chart(
            id=id_,
            title=title,
            unit=unit,
            last=shown(values[-1] if values else None),
            least=shown(min(known, default=None)),
            greatest=shown(max(known, default=None)),
        )

    waiting = [
        None if point.outbox_records is None and point.stream_events is None else float(_under_way(point))
        for point in points
    ]
    return (
        chart("freshness", "Age of the target", "", [point.freshness_seconds for point in points], age),
        chart("rate", "Rows read", "rows/s", [point.rows_per_second for point in points], rate),
        chart("waiting", "Under way", "events", waiting, number),
    )


def curves(points: Sequence[Point], objective_seconds: float | None) -> dict[str, Any]:
    """The points in columns, as the browser draws them; times are seconds since 1970."""
    return {
        "at": [round(point.at.timestamp(), 3) for point in points],
        "freshness": [point.freshness_seconds for point in points],
        "source": [point.source_seconds for point in points],
        "objective": objective_seconds,
        "rate": [None if point.rows_per_second is None else round(point.rows_per_second, 2) for point in points],
        "outbox": [point.outbox_records for point in points],
        "stream": [point.stream_events for point in points],
    }


def minutes(pages: Sequence[LedgerEntry], now: datetime) -> dict[str, list[float]]:
    """Rows a minute over the last hour, or for as long as these pages, the newest of the ledger, reach back."""
    last = now.astimezone(UTC).replace(second=0, microsecond=0)
    rows: Counter[datetime] = Counter()
    for page in pages:
        rows[page.extracted_at.astimezone(UTC).replace(second=0, microsecond=0)] += page.rows
    every = [last - timedelta(minutes=back) for back in reversed(range(MINUTES))]
    return {"at": [moment.timestamp() for moment in every], "rows": [float(rows[moment]) for moment in every]}


def _under_way(point: Point) -> int:
    return (point.outbox_records or 0) + (point.stream_events or 0)


def _place(log: int | None, sequence: int | None) -> str | None:
    return None if log is None or sequence is None else f"{log}/{sequence:,}"


def _behind(lane: Mapping[str, Any], progress: Mapping[str, Any]) -> int | None:
    """Events of the lane's log that the group has not applied; None where nobody can count them."""
    log, sequence = lane.get("published_log"), lane.get("published_sequence")
    if log is None or sequence is None or not progress:
        return None
    if progress["log"] > log:
        return 0
    return max(0, int(sequence) - (int(progress["sequence"]) if progress["log"] == log else 0))
