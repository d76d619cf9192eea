"""One row a pipeline, as the overview has it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qupersync_extractor.interface.page.described import Described
from qupersync_extractor.interface.page.series import Series, Sparkline, sparkline
from qupersync_extractor.interface.page.states import MEANINGS, Level, level_of, shown_state, urgency_of
from qupersync_extractor.interface.page.words import counted, read_moment, span
from qupersync_shared.kernel.positions import decode_position


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A pipeline at a glance; None is what is not known.

    `freshness_seconds`: how old the target may be, against `objective_seconds`. `cursor`: up to where the source was
    read; `watermark`: the moment up to which the target is complete. `whereabouts`: a sentence on where its pages are.
    """

    name: str
    state: str
    level: Level
    meaning: str
    source: str | None
    target: str | None
    freshness_seconds: float | None
    objective_seconds: float | None
    rows_per_second: float | None
    curve: Sparkline | None
    cursor: str | None
    watermark: datetime | None
    log: int | None
    sequence: int | None
    applied_at: datetime | None
    waiting: str | None
    whereabouts: str | None
    reasons: tuple[str, ...]
    notices: tuple[str, ...]
    paused: bool
    version: int | None
    schedule: str | None
    next_run_at: datetime | None
    parked: int

    @property
    def urgency(self) -> int:
        """The smaller, the sooner somebody should look."""
        return urgency_of(self.state)

    @property
    def lateness(self) -> float:
        """Freshness as a share of its objective; by crontab, of an hour."""
        return (self.freshness_seconds or 0.0) / (self.objective_seconds or 3600.0)

    @property
    def late(self) -> bool:
        """Whether the target is older than its objective."""
        return self.objective_seconds is not None and (self.freshness_seconds or 0.0) > self.objective_seconds

    @property
    def searched(self) -> tuple[str, ...]:
        """What the filter looks into."""
        return (self.name, self.state, self.source or "", self.target or "")


def rows(
    document: Mapping[str, Any],
    described: Mapping[str, Described],
    *,
    rates: Mapping[str, float] | None,
    series: Series,
) -> tuple[Row, ...]:
    """A row for every pipeline of the document; `rates` None: how much moves is not known."""
    entries: Mapping[str, Mapping[str, Any]] = document.get("pipelines") or {}
    return tuple(
        row(name, entry, described.get(name), rate=None if rates is None else rates.get(name, 0.0), series=series)
        for name, entry in entries.items()
    )


def row(name: str, entry: Mapping[str, Any], described: Described | None, *, rate: float | None, series: Series) -> Row:
    """One pipeline's row."""
    objective = described.objective_seconds if described else None
    state = shown_state(entry, objective)
    lag: Mapping[str, Any] = entry.get("lag") or {}
    extraction: Mapping[str, Any] = entry.get("extraction") or {}
    control: Mapping[str, Any] = entry.get("control") or {}
    schedule: Mapping[str, Any] = entry.get("schedule") or {}
    ledger: Mapping[str, Any] = entry.get("ledger") or {}
    freshness = lag.get("freshness_seconds")
    return Row(
        name=name,
        state=state,
        level=level_of(state),
        meaning=MEANINGS.get(state, "this page does not know the state"),
        source=described.source if described else None,
        target=described.target if described else None,
        freshness_seconds=freshness,
        objective_seconds=objective,
        rows_per_second=rate,
        curve=sparkline([point.freshness_seconds for point in series.of(name)], limit=None),
        cursor=cursor_text(extraction.get("cursor")),
        watermark=_watermark(entry),
        log=extraction.get("log"),
        sequence=extraction.get("sequence"),
        applied_at=_applied_at(entry),
        waiting=_waiting(lag),
        whereabouts=ledger.get("sentence"),
        reasons=_reasons(entry, state, freshness, objective),
        notices=tuple(entry.get("notices") or ()),
        paused=bool(control.get("paused")),
        version=control.get("version"),
        schedule=schedule.get("text") or (described.schedule if described else None),
        next_run_at=read_moment(schedule.get("next_run_at")),
        parked=parked(entry),
    )


def parked(entry: Mapping[str, Any]) -> int:
    """How many rows and events wait for a person."""
    groups: Sequence[Mapping[str, int]] = list((entry.get("parked") or {}).values())
    return sum(each["quarantined"] + each["dead_letters"] for each in groups) + int(entry.get("withheld_rows") or 0)


def cursor_text(encoded: str | None) -> str | None:
    """The cursor value of an encoded position, for people."""
    if encoded is None:
        return None
    try:
        return decode_position(encoded).cursor.text
    except (ValueError, KeyError, TypeError):
        return encoded


def _reasons(entry: Mapping[str, Any], state: str, freshness: float | None, objective: float | None) -> tuple[str, ...]:
    reason = entry.get("reason")
    if reason:
        return (reason,)
    if state == "lagging":
        expected = f"by its schedule it should be {span(objective)} at most"
        return (f"the target is {span(freshness)} old, and {expected}: look at where its pages wait",)
    if state == "new":
        return ("no extractor has run it yet: start `qupersync-extractor run`",)
    return ()


def _watermark(entry: Mapping[str, Any]) -> datetime | None:
    """The oldest honest time of all lanes and groups; None while one of them cannot say."""
    times = [
        read_moment(told.get("honest_time"))
        for lane in entry.get("lanes") or ()
        for told in (lane.get("groups") or {}).values()
    ]
    known = [moment for moment in times if moment is not None]
    return min(known) if known and len(known) == len(times) else None


def _applied_at(entry: Mapping[str, Any]) -> datetime | None:
    """When the last event was applied."""
    times = [
        read_moment(told.get("applied_at"))
        for lane in entry.get("lanes") or ()
        for told in (lane.get("groups") or {}).values()
    ]
    return max((moment for moment in times if moment is not None), default=None)


def _waiting(lag: Mapping[str, Any]) -> str | None:
    """What is under way, by the place where it waits; None where nobody knows."""
    records, events = lag.get("outbox_records"), lag.get("stream_events")
    if records is None and events is None:
        return None
    told = [counted(records, "record") + " in the outbox"] if records else []
    told += [counted(events, "event") + " to load"] if events else []
    return ", ".join(told) or "nothing"
