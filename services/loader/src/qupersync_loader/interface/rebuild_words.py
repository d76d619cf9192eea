"""What a rebuild or replay tells, as lines for people and as documents for scripts."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, assert_never

from qupersync_loader.application.rebuild.rebuild import Preview, Rebuilt
from qupersync_loader.application.rebuild.tally import Tally
from qupersync_loader.application.rebuild.telling import Began, Compared, Hindered, InPhase, Placed, Told, Waits
from qupersync_loader.application.shadows import Comparison, LaneDifference, Phase, Swapped, Way
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.kernel.positions import decode_key
from qupersync_shared.runtime.console import bytes_shown, seconds_shown

_PHASES = {
    Phase.READING: "reading the stream",
    Phase.COMPARING: "comparing with the live table, as both stood at one moment",
    Phase.SWAPPING: "putting it in place",
}


def lines(told: Told) -> list[str]:
    """One line a fact."""
    match told:
        case Began(snapshot=snapshot, table=table, resumed=resumed):
            doing = "going on with" if resumed else "filling"
            return [f"{doing} {table}, from snapshot {snapshot.id} of log {snapshot.log}, begun {_moment(snapshot.at)}"]
        case InPhase(phase=phase):
            return [_PHASES[phase]] if phase in _PHASES else []
        case Hindered(obstacles=obstacles):
            return [f"in the way: {one.what}. {one.cure}" for one in obstacles]
        case Waits(reason=reason):
            return [f"waiting: {reason}"]
        case Compared(comparison=comparison):
            return comparison_lines(comparison)
        case Placed(swapped=swapped):
            return [_placed(swapped)]
        case unexpected:
            assert_never(unexpected)


def document(told: Told) -> dict[str, Any]:
    """One JSON document a fact; `event` says which."""
    match told:
        case Began(snapshot=snapshot, table=table, resumed=resumed):
            begun = {"snapshot": str(snapshot.id), "log": snapshot.log, "taken_at": snapshot.at.isoformat()}
            return {"event": "began", **begun, "table": table, "resumed": resumed}
        case InPhase(phase=phase):
            return {"event": "phase", "phase": phase.value}
        case Hindered(obstacles=obstacles):
            return {"event": "hindered", "obstacles": [asdict(one) for one in obstacles]}
        case Waits(reason=reason):
            return {"event": "waits", "reason": reason}
        case Compared(comparison=comparison):
            return {"event": "compared", "equal": comparison.equal, **asdict(comparison)}
        case Placed(swapped=swapped):
            return {"event": "placed", **asdict(swapped), "way": swapped.way.value}
        case unexpected:
            assert_never(unexpected)


def comparison_lines(comparison: Comparison) -> list[str]:
    """Equal or not, and where not."""
    excepted = f", {comparison.excepted_keys} keys in quarantine left out" if comparison.excepted_keys else ""
    if comparison.equal:
        return [f"equal: {comparison.live_rows} rows{excepted}"]
    head = f"different: {comparison.live_rows} rows live, {comparison.shadow_rows} rebuilt{excepted}"
    return [head, *(_difference(one) for one in comparison.differences)]


def _difference(one: LaneDifference) -> str:
    keys = ", ".join(_key(key) for key in one.keys)
    told = f"lane {one.lane}: {one.live_rows} rows live, {one.shadow_rows} rebuilt, {one.ranges} ranges differ"
    return f"  {told}; keys: {keys}" if keys else f"  {told}"


def _key(text: str) -> str:
    try:
        key = decode_key(text)
    except ValueError:
        return text
    shown = ", ".join(scalar.text for scalar in key)
    return f"({shown})" if len(key) > 1 else shown


def _placed(swapped: Swapped) -> str:
    loaders = f"loaders waited {seconds_shown(swapped.paused_seconds)}"
    if swapped.way is Way.MERGE:
        return f"merged: {swapped.written} rows written, {swapped.removed} removed; {loaders}, readers not at all"
    return f"swapped: {swapped.rows} rows; readers waited {seconds_shown(swapped.locked_seconds)}, {loaders}"


def _moment(moment: Any) -> str:
    return str(moment.isoformat(timespec="seconds"))


# -------------------------------------------------------------------------------------------------------------- reading


def reading_line(tally: Tally, seconds: float) -> str:
    """How far reading is."""
    told = f"{tally.rows} rows, {tally.events} events, {bytes_shown(tally.bytes)} read"
    rate = per_second(tally.rows, seconds)
    left = eta_seconds(tally, seconds)
    more = [f"{rate:.0f} rows/s"] if rate is not None else []
    if tally.events_left:
        more.append(f"{tally.events_left} events to go")
        more += [f"about {seconds_shown(left)}"] if left is not None else []
    return ", ".join([told, *more, *sorted(tally.troubles.values())])


def reading_document(tally: Tally, seconds: float) -> dict[str, Any]:
    """The same for scripts; a lane's place and aim are log and sequence."""
    lanes: Mapping[int, Any] = {
        lane: {"place": tally.places.get(lane), "aim": tally.aims.get(lane)}
        for lane in sorted(tally.places.keys() | tally.aims.keys())
    }
    return {
        "event": "reading",
        "rows": tally.rows,
        "events": tally.events,
        "bytes": tally.bytes,
        "events_left": tally.events_left,
        "rows_per_second": per_second(tally.rows, seconds),
        "eta_seconds": eta_seconds(tally, seconds),
        "lanes": lanes,
        "troubles": [tally.troubles[lane] for lane in sorted(tally.troubles)],
    }


def per_second(count: int, seconds: float) -> float | None:
    """None as long as it says nothing."""
    return round(count / seconds, 1) if count and seconds > 0 else None


def eta_seconds(tally: Tally, seconds: float) -> float | None:
    """How long reading will take yet, by the pace so far."""
    pace = per_second(tally.events, seconds)
    return round(tally.events_left / pace, 1) if pace else None


# --------------------------------------------------------------------------------------------------------------- ending


def preview_lines(preview: Preview, table: str) -> list[str]:
    """What would happen."""
    size = f"{preview.size.events} events, {bytes_shown(preview.size.bytes)}"
    begins = f"snapshot {preview.snapshot.id} of log {preview.snapshot.log}, begun {_moment(preview.snapshot.at)}"
    found = [f"an earlier rebuild left {preview.found.table}: it would be gone on with"] if preview.found else []
    room = f"{table} takes its room a second time until the swap; the target's free disk is not known here"
    hindered = [f"in the way: {one.what}. {one.cure}" for one in preview.obstacles]
    way = ["only --merge is possible: rows would be written over in place"] if hindered else []
    return [f"would read {size}, from {begins}", *found, room, *hindered, *way]


def preview_document(preview: Preview) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "event": "preview",
        "snapshot": str(preview.snapshot.id),
        "log": preview.snapshot.log,
        "taken_at": preview.snapshot.at.isoformat(),
        "events": preview.size.events,
        "bytes": preview.size.bytes,
        "found": preview.found.table if preview.found is not None else None,
        "obstacles": [asdict(one) for one in preview.obstacles],
    }


def ending_lines(rebuilt: Rebuilt, pipeline: PipelineName) -> list[str]:
    """What the operator has now, and may do next."""
    if rebuilt.phase is Phase.DIFFERENT:
        return [
            f"nothing was changed; the rebuilt rows are in {rebuilt.table}",
            f"`qupersync rebuild {pipeline} --accept-difference` puts them in place, `--discard` removes them",
        ]
    if rebuilt.phase is Phase.KEPT:
        return [
            f"the rebuilt rows are in {rebuilt.table}",
            f"`qupersync rebuild {pipeline}` puts them in place, `--discard` removes them",
        ]
    return []


def ending_document(rebuilt: Rebuilt) -> dict[str, Any]:
    """The last line."""
    kept = rebuilt.table if rebuilt.phase in {Phase.DIFFERENT, Phase.KEPT} else None
    return {"event": "ended", "phase": rebuilt.phase.value, "equal": rebuilt.comparison.equal, "kept": kept}


def interrupted(pipeline: PipelineName, *, placed: bool) -> str:
    """What to say when a person ends it; `placed`: a moment too late."""
    if placed:
        return "stopped, but all was done before: the rebuilt rows are in place"
    return f"stopped: nothing was changed, what was read is kept; run `qupersync rebuild {pipeline}` again to go on"
