"""The strip: how rows get from the source to the target, with rate and age at each hop. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from qupersync_extractor.interface.page.rates import Flow
from qupersync_extractor.interface.page.states import Level
from qupersync_extractor.interface.page.words import NOTHING, age, counted, rate, short, size, span

Entries = Mapping[str, Mapping[str, Any]]
_SLOW_SECONDS: Final = 60.0
_FULL_SHARE: Final = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One place on the way: a figure with its unit, a line below it, and how it stands."""

    name: str
    figure: str
    unit: str
    note: str
    level: Level
    why: str = ""


def hops(
    document: Mapping[str, Any], *, source: str, rates: Mapping[str, float] | None, flow: Flow, late: int
) -> tuple[Hop, ...]:
    """The five hops; one whose probe failed is unknown, whatever it was before. `late`: tables over their objective."""
    entries: Entries = document.get("pipelines") or {}
    probes: Mapping[str, Mapping[str, Any]] = document.get("probes") or {}
    reasons: Sequence[str] = document.get("reasons") or ()
    nats_silent = _silent(probes, "nats") or _said(reasons, "nats")
    outbox_silent = _silent(probes, "extractor") or _said(reasons, "outbox")
    return (
        _source(entries, source, rates, reasons, unknown=outbox_silent),
        _outbox(entries, unknown=outbox_silent),
        _stream(entries, flow, unknown=nats_silent),
        _loaders(document, flow, unknown=nats_silent),
        _target(entries, reasons, late, unknown=nats_silent),
    )


def _source(
    entries: Entries, source: str, rates: Mapping[str, float] | None, reasons: Sequence[str], *, unknown: str
) -> Hop:
    away = _said(reasons, "source")
    behind = _greatest(entries, "source_seconds")
    return Hop(
        name=source,
        figure=rate(None if rates is None else sum(rates.values())),
        unit="rows/s read",
        note="no cursor yet" if behind is None else f"cursors {span(behind)} behind at most",
        level=Level.BAD if away else Level.UNKNOWN if unknown else Level.GOOD,
        why=away or unknown,
    )


def _outbox(entries: Entries, *, unknown: str) -> Hop:
    records, oldest = _sum(entries, "outbox_records"), _greatest(entries, "outbox_seconds")
    held = _sum(entries, "outbox_bytes")
    level = Level.LATE if (oldest or 0.0) > _SLOW_SECONDS else Level.GOOD
    note = "empty" if records == 0 else f"{size(held)}, the oldest {span(oldest)} old"
    return Hop(
        name="Outbox",
        figure=NOTHING if unknown else short(records),
        unit="records wait",
        note="not known" if unknown or records is None else note,
        level=Level.UNKNOWN if unknown or records is None else level,
        why=unknown,
    )


def _stream(entries: Entries, flow: Flow, *, unknown: str) -> Hop:
    events = _sum(entries, "stream_events")
    there = [entry["stream"] for entry in entries.values() if entry.get("stream")]
    held = sum(stream["bytes"] for stream in there)
    lacking = len(entries) - len(there)
    full = any(0 < one["bytes_max"] * _FULL_SHARE < one["bytes"] for one in there)
    level = Level.UNKNOWN if unknown else Level.BAD if lacking else Level.LATE if full else Level.GOOD
    return Hop(
        name="Stream",
        figure=NOTHING if unknown else short(events),
        unit="events wait",
        note="not known" if unknown else f"{rate(flow.published_per_second)} events/s in, {size(held)} kept",
        level=level,
        why=unknown or (f"{counted(lacking, 'stream')} not declared" if lacking else ""),
    )


def _loaders(document: Mapping[str, Any], flow: Flow, *, unknown: str) -> Hop:
    every = [one for one in document.get("processes") or () if one.get("role") == "loader"]
    alive = [one for one in every if one.get("alive")]
    beat = min((one["age_seconds"] for one in alive), default=None)
    note = f"{rate(flow.applied_per_second)} events/s, heartbeat {span(beat)} ago"
    return Hop(
        name="Loaders",
        figure=NOTHING if unknown else str(len(alive)),
        unit="alive",
        note="not known" if unknown else note if alive else "no heartbeat",
        level=Level.UNKNOWN if unknown else Level.GOOD if alive else Level.BAD,
        why=unknown or ("" if alive else "no loader is alive: start `qupersync-loader run`"),
    )


def _target(entries: Entries, reasons: Sequence[str], late: int, *, unknown: str) -> Hop:
    away = _said(reasons, "target")
    oldest = _greatest(entries, "freshness_seconds")
    mute = [name for name, entry in entries.items() if (entry.get("lag") or {}).get("freshness_seconds") is None]
    note = f"of {counted(len(entries), 'table')} the oldest"
    if mute and not unknown:
        note = f"{len(mute)} of {counted(len(entries), 'table')} not complete yet"
    if late and not unknown:
        note = f"{late} of {counted(len(entries), 'table')} late"
    level = Level.LATE if late else Level.GOOD
    return Hop(
        name="PostgreSQL",
        figure=NOTHING if unknown else age(oldest),
        unit="behind at most",
        note="not known" if unknown else note,
        level=Level.BAD if away else Level.UNKNOWN if unknown or oldest is None else level,
        why=away or unknown,
    )


def _silent(probes: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """Why a probe tells nothing; empty where it answered, or was never asked."""
    probe = probes.get(name) or {}
    if probe.get("verdict") in (None, "ok"):
        return ""
    return str(probe.get("message") or f"{name} did not answer")


def _said(reasons: Sequence[str], area: str) -> str:
    return next((reason for reason in reasons if reason.startswith(f"{area}: ")), "")


def _sum(entries: Entries, name: str) -> int | None:
    known = [value for entry in entries.values() if (value := (entry.get("lag") or {}).get(name)) is not None]
    return sum(known) if known else None


def _greatest(entries: Entries, name: str) -> float | None:
    return max(
        (value for entry in entries.values() if (value := (entry.get("lag") or {}).get(name)) is not None),
        default=None,
    )
