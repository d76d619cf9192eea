"""The overview: from the status document to what its template shows. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from qupersync_extractor.application.actions import Action
from qupersync_extractor.interface.page.described import Described
from qupersync_extractor.interface.page.hops import Hop, hops
from qupersync_extractor.interface.page.rates import Flow
from qupersync_extractor.interface.page.rebuilds import GroupRebuilds
from qupersync_extractor.interface.page.rows import Row, rows
from qupersync_extractor.interface.page.series import Series
from qupersync_extractor.interface.page.states import ATTENTION, MEANINGS, URGENCY, Level, level_of
from qupersync_extractor.interface.page.words import counted, read_moment

OLD_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a page is made of: the status document, and what else is known at `now`."""

    document: Mapping[str, Any]
    described: Mapping[str, Described]
    source_kind: str
    source_address: str
    now: datetime
    rates: Mapping[str, float] | None = None
    series: Series = field(default_factory=Series)
    flow: Flow = field(default_factory=Flow)

    @property
    def as_of(self) -> datetime | None:
        """When the document was made."""
        return read_moment(self.document.get("as_of"))

    @property
    def age_seconds(self) -> float | None:
        """How old the document is."""
        return None if self.as_of is None else max(0.0, (self.now - self.as_of).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What of the pipelines is asked for: a part of the name, and an order."""

    text: str = ""
    sort: str = "urgency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How all stands, in a sentence that changes only when something does; `reasons` are those beyond one pipeline."""

    level: Level
    sentence: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCount:
    """How many pipelines are in a state."""

    state: str
    level: Level
    meaning: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The page of all pipelines."""

    verdict: Verdict
    as_of: datetime | None
    age_seconds: float | None
    hops: tuple[Hop, ...]
    rows: tuple[Row, ...]
    pipelines: int
    states: tuple[StateCount, ...]
    processes: tuple[Mapping[str, Any], ...]
    probes: Mapping[str, Mapping[str, Any]]
    outbox: Mapping[str, Any]
    streams: tuple[Mapping[str, Any], ...]
    waiting: tuple[Mapping[str, Any], ...]
    comparisons: tuple[Mapping[str, Any], ...]
    budget: Mapping[str, Any] | None
    maintenance: Mapping[str, Any] | None
    actions: tuple[Action, ...] | None
    rebuilds: tuple[GroupRebuilds, ...]


def overview(
    seen: Seen, choice: Choice, actions: Sequence[Action] | None, rebuilds: Sequence[GroupRebuilds] = ()
) -> Overview:
    """Everything the overview shows; what is not known stays None and is shown as such."""
    every = rows(seen.document, seen.described, rates=seen.rates, series=seen.series)
    entries: Mapping[str, Mapping[str, Any]] = seen.document.get("pipelines") or {}
    return Overview(
        verdict=verdict(seen, every),
        as_of=seen.as_of,
        age_seconds=seen.age_seconds,
        hops=hops(
            seen.document,
            source=seen.source_kind,
            rates=seen.rates,
            flow=seen.flow,
            late=sum(row.late for row in every),
        ),
        rows=chosen(every, choice),
        pipelines=len(every),
        states=_counts(every),
        processes=tuple(seen.document.get("processes") or ()),
        probes=seen.document.get("probes") or {},
        outbox=_outbox(entries),
        streams=_streams(entries),
        waiting=_waiting(entries),
        comparisons=_comparisons(entries),
        budget=seen.document.get("source_budget"),
        maintenance=seen.document.get("maintenance"),
        actions=None if actions is None else tuple(actions),
        rebuilds=tuple(rebuilds),
    )


def verdict(seen: Seen, every: Sequence[Row]) -> Verdict:
    """The one sentence. It is good only where everything was asked, everything answered, and nothing is wrong."""
    general = tuple(_general(seen.document, [row.name for row in every]))
    age = seen.age_seconds
    if age is None or age > OLD_SECONDS:
        return Verdict(level=Level.UNKNOWN, sentence="Unknown: the numbers below are old", reasons=general)
    level, sentence = _attention(every) or _silence(seen.document) or _peace(every, wrong=bool(general))
    return Verdict(level=level, sentence=sentence, reasons=general)


def _attention(every: Sequence[Row]) -> tuple[Level, str] | None:
    """What is said where pipelines need somebody."""
    needy = [row for row in every if row.state in ATTENTION or row.level is Level.UNKNOWN]
    if not needy:
        return None
    some = f"{len(needy)} of {counted(len(every), 'pipeline')}"
    if all(row.level is Level.UNKNOWN for row in needy):
        return Level.UNKNOWN, f"Unknown: how {some} {'stands' if len(needy) == 1 else 'stand'}{_others(every)}"
    worst = Level.BAD if any(row.level is Level.BAD for row in needy) else Level.LATE
    return worst, f"{some} {'needs' if len(needy) == 1 else 'need'} attention{_others(every)}"


def _silence(document: Mapping[str, Any]) -> tuple[Level, str] | None:
    """What is said where something that was asked did not answer."""
    probes: Mapping[str, Mapping[str, Any]] = document.get("probes") or {}
    silent = sorted(name for name, probe in probes.items() if probe.get("verdict") not in (None, "ok"))
    return (Level.UNKNOWN, f"Not everything is known: no answer from {', '.join(silent)}") if silent else None


def _peace(every: Sequence[Row], *, wrong: bool) -> tuple[Level, str]:
    if wrong:
        return Level.LATE, "The pipelines work, and something else is wrong"
    if not every:
        return Level.QUIET, "No pipeline is configured yet"
    others = _others(every)
    live = sum(row.state == "live" for row in every)
    if others:
        return Level.GOOD, f"All is well: {live} live{others}"
    return Level.GOOD, "The pipeline is live" if live == 1 else f"All {live} pipelines are live"


def _others(every: Sequence[Row]) -> str:
    named = (("paused", "paused"), ("snapshotting", "reading a snapshot"), ("new", "new"))
    told = [f"{count} {word}" for state, word in named if (count := sum(row.state == state for row in every))]
    return f", {', '.join(told)}" if told else ""


def _general(document: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    of_pipelines = tuple(f"{name}: " for name in names)
    reasons: Sequence[str] = document.get("reasons") or ()
    return [reason for reason in reasons if not of_pipelines or not reason.startswith(of_pipelines)]


def chosen(every: Sequence[Row], choice: Choice) -> tuple[Row, ...]:
    """The rows that hold the text, in the order asked for; by urgency unless it is name, freshness or rate."""
    text = choice.text.strip().lower()
    kept = [row for row in every if not text or any(text in each.lower() for each in row.searched)]
    match choice.sort:
        case "name":
            kept.sort(key=lambda row: row.name)
        case "freshness":
            kept.sort(key=lambda row: (-(row.freshness_seconds or 0.0), row.name))
        case "rate":
            kept.sort(key=lambda row: (-(row.rows_per_second or 0.0), row.name))
        case _:
            kept.sort(key=lambda row: (row.urgency, -row.lateness, row.name))
    return tuple(kept)


def _counts(every: Sequence[Row]) -> tuple[StateCount, ...]:
    return tuple(
        StateCount(state=state, level=level_of(state), meaning=MEANINGS[state], count=count)
        for state in URGENCY
        if (count := sum(row.state == state for row in every))
    )


def _outbox(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    known = {name: entry["outbox"] for name, entry in entries.items() if entry.get("outbox")}
    moments = [moment for each in known.values() if (moment := read_moment(each.get("oldest"))) is not None]
    return {
        "known": bool(known),
        "records": sum(each["records"] for each in known.values()),
        "bytes": sum(each["bytes"] for each in known.values()),
        "oldest": min(moments, default=None),
        "fullest": max(known, key=lambda name: known[name]["bytes"], default=None) if known else None,
    }


def _streams(entries: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The streams that there are, the fullest first."""
    found = []
    for name, entry in entries.items():
        stream = entry.get("stream")
        if stream:
            limit = stream["bytes_max"]
            found.append(
                {
                    **stream,
                    "name": name,
                    "share": stream["bytes"] / limit if limit > 0 else None,
                    "since": read_moment(stream.get("replayable_since")),
                }
            )
    return tuple(sorted(found, key=lambda stream: (-(stream["share"] or 0.0), stream["name"])))


def _waiting(entries: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """What waits for a person, by pipeline and where: a loader group, or the source."""
    found = []
    for name, entry in sorted(entries.items()):
        for group, counts in sorted((entry.get("parked") or {}).items()):
            if counts["quarantined"] or counts["dead_letters"]:
                found.append({"pipeline": name, "group": group, **counts})
        if entry.get("withheld_rows"):
            found.append(
                {"pipeline": name, "group": "source", "quarantined": entry["withheld_rows"], "dead_letters": 0}
            )
    return tuple(found)


def _comparisons(entries: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The last comparison of each pipeline and group, the newest first."""
    found = [
        {**told, "pipeline": name, "group": group, "at": read_moment(told.get("started_at"))}
        for name, entry in entries.items()
        for group, told in (entry.get("verifications") or {}).items()
    ]
    return tuple(sorted(found, key=lambda one: str(one.get("started_at")), reverse=True))
