"""The status document: pure functions from what the probes answered to what `status --json` prints."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.places import StreamPlaces
from qupersync_shared.contracts.progress import STALE_SECONDS, LaneProgress
from qupersync_shared.runtime.cli.nats_status import NatsFacts, Process, StreamFacts, alive, plain
from qupersync_shared.runtime.lane_words import told_once
from qupersync_shared.runtime.plugins import StatusPart
from qupersync_shared.runtime.quarantine import parked_reason

UNKNOWN: Final = "unknown"
# The further to the right, the more it matters: of two states the worse one is shown.
_STATES: Final = (
    *(UNKNOWN, "live", "new", "snapshotting"),
    *("lagging", "retrying", "paused", "degraded", "stalled"),
)
_NEEDED_ROLES: Final = ("extractor", "loader")
_LAG: Final = ("source_seconds", "outbox_records", "outbox_bytes", "stream_events", "freshness_seconds")
_FULL_SHARE: Final = 0.98
_SLOW_RELAY_SECONDS: Final = 120.0


def assemble(
    *,
    pipelines: Sequence[str],
    parts: Sequence[StatusPart],
    failures: Sequence[str],
    probes: Mapping[str, Mapping[str, Any]],
    now: datetime,
) -> dict[str, Any]:
    """The whole document. `failures` are probes that did not answer: they are reasons, and what only they could have
    told stays unknown.
    """
    entries: dict[str, dict[str, Any]] = {name: {} for name in pipelines}
    sections: dict[str, Any] = {}
    processes: list[Mapping[str, Any]] = []
    reasons = list(failures)
    for part in parts:
        for name, fragment in part.pipelines.items():
            entries[name] = merge(entries.get(name, {}), fragment)
        sections = merge(sections, part.sections)
        processes.extend(part.processes)
        reasons.extend(part.reasons)
    entries = {name: _with_drift(entry) for name, entry in entries.items()}
    if probes.get("nats", {}).get("verdict") != "unknown":  # else nobody knows who is alive
        for name, reason in _not_relayed(entries, processes).items():
            entries[name] = merge(entries[name], {"reason": reason})
    finished = {name: _finished(entry) for name, entry in sorted(entries.items())}
    reasons.extend(f"{name}: {entry['reason']}" for name, entry in finished.items() if entry["reason"])
    distinct = list(dict.fromkeys(reasons))
    return {
        "as_of": now.isoformat(timespec="milliseconds"),
        "reason": "; ".join(distinct) or None,
        "reasons": distinct,
        "pipelines": finished,
        "processes": list(processes),
        "probes": {name: dict(probe) for name, probe in probes.items()},
        **sections,
    }


def _with_drift(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The comparisons with groups that are there, and what they found: of a group that has gone nothing is to mend."""
    compared, parked = entry.get("verifications") or {}, entry.get("parked")
    if parked is not None:  # else nobody knows which groups there are
        there = {*parked, *((entry.get("stream") or {}).get("held_by") or ())}
        compared = {group: found for group, found in compared.items() if group in there}
    reasons = [found["reason"] for found in compared.values() if found.get("reason")]
    told = {**entry, "verifications": compared} if "verifications" in entry else dict(entry)
    return merge(told, {"state": "degraded", "reason": "; ".join(reasons)}) if reasons else told


def _not_relayed(entries: Mapping[str, Mapping[str, Any]], processes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Pipelines whose outbox records wait longer than they should, with nobody saying why."""
    relays = any(process.get("alive") and process.get("relays") for process in processes)
    found: dict[str, str] = {}
    for name, entry in entries.items():
        waited = (entry.get("lag") or {}).get("outbox_seconds") or 0.0
        if not relays and waited > STALE_SECONDS:
            found[name] = f"its outbox has waited for {waited:.0f} s and nobody relays: start `qupersync-extractor run`"
        elif waited > _SLOW_RELAY_SECONDS and not entry.get("reason"):
            found[name] = f"its outbox has waited for {waited:.0f} s although a relay is alive: look at the relay's log"
    return found


def _finished(entry: Mapping[str, Any]) -> dict[str, Any]:
    lag = entry.get("lag") or {}
    reason = entry.get("reason")
    state = entry.get("state") or UNKNOWN
    if reason and state == "live":
        state = "retrying"  # one part cannot work while another still calls it live
    return {
        "state": state,
        "reason": reason,
        "extraction": entry.get("extraction"),
        "lanes": sorted(entry.get("lanes") or [], key=lambda lane: lane["lane"]),
        "lag": {**dict.fromkeys(_LAG), **lag},
        **{key: value for key, value in entry.items() if key not in {"state", "reason", "extraction", "lanes", "lag"}},
    }


def merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both fragments: mappings are merged, lanes by their `lane`, the worse `state` stands, `reason`s are joined;
    elsewhere the later value stands unless it is None.
    """
    merged = dict(one)
    for key, value in other.items():
        present = merged.get(key)
        if value is None:
            merged.setdefault(key, None)
        elif present is None:
            merged[key] = value
        elif key == "state":
            merged[key] = max(present, value, key=_severity)
        elif key == "reason":
            merged[key] = present if value in present else f"{present}; {value}"
        elif key == "lanes":
            merged[key] = _merged_lanes(present, value)
        elif isinstance(present, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(present, value)
        else:
            merged[key] = value
    return merged


def _severity(state: str) -> int:
    return _STATES.index(state) if state in _STATES else len(_STATES)


def _merged_lanes(one: Iterable[Mapping[str, Any]], other: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    lanes: dict[int, dict[str, Any]] = {}
    for fragment in (*one, *other):
        lanes[fragment["lane"]] = merge(lanes.get(fragment["lane"], {}), fragment)
    return list(lanes.values())


# --------------------------------------------------------------------------------------------------- what NATS says


def nats_part(pipelines: Sequence[str], facts: NatsFacts) -> StatusPart:
    """The share of the document that NATS alone can tell."""
    living = alive(facts.processes, STALE_SECONDS)
    fragments = {
        name: _fragment(
            name,
            facts.streams.get(name),
            facts.lanes.get(name, []),
            _troubles(living, name),
            facts.at,
            facts.places.get(name),
        )
        | {"notices": _notices(living, name)}
        for name in pipelines
    }
    troubles = [
        f"{process.beat.role} {process.beat.instance}: {process.beat.troubles['']}"
        for process in living
        if process.beat.troubles.get("")
    ]
    return StatusPart(
        pipelines=fragments,
        processes=[plain(process, STALE_SECONDS) for process in facts.processes],
        reasons=[*(_missing_roles(facts.processes, fragments) if pipelines else []), *troubles],
    )


def _missing_roles(processes: Sequence[Process], fragments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Roles and loader groups that are missed: their last process vanished, or there is work and nobody ever came.

    A process that ended in order took its heartbeat with it: where all is published and applied, as after runs with
    `--once` and `--until-drained`, nobody is missed. A relay may be part of an extractor, and is not missed either.
    """
    best: dict[tuple[str, str | None], float] = {}
    for process in processes:
        key = (process.beat.role, process.beat.group)
        best[key] = min(best.get(key, process.age_seconds), process.age_seconds)
    reasons = [
        f"no {role}{f' of group {group}' if group else ''} is alive: the last heartbeat is {age:.0f} s old"
        for (role, group), age in sorted(best.items(), key=str)
        if role in _NEEDED_ROLES and age > STALE_SECONDS
    ]
    lags = [fragment["lag"]["stream_events"] for fragment in fragments.values()]
    wanted = {"extractor": any(lag is None for lag in lags), "loader": any(lag for lag in lags)}
    seen = {role for role, _ in best}
    return [*(f"no {role} is running" for role in _NEEDED_ROLES if role not in seen and wanted[role]), *reasons]


def _troubles(living: Sequence[Process], pipeline: str) -> list[str]:
    found = (process.beat.troubles.get(pipeline) for process in living)
    return list(dict.fromkeys(text for text in found if text))


def _notices(living: Sequence[Process], pipeline: str) -> list[str]:
    """What keeps nothing from working: no reason to call anything wrong."""
    return list(dict.fromkeys(text for process in living for text in process.beat.notices.get(pipeline, [])))


def _fragment(
    pipeline: str,
    stream: StreamFacts | None,
    progress: Sequence[LaneProgress],
    troubles: Sequence[str],
    at: datetime,
    places: StreamPlaces | None,
) -> dict[str, Any]:
    progress = [entry for entry in progress if not _has_left(entry, progress)]
    reasons = list(troubles)
    if stream is None:
        reasons.append("its stream is not declared (run `qupersync-extractor migrate`)")
    elif 0 < stream.bytes_max * _FULL_SHARE <= stream.bytes:
        reasons.append(f"its stream is full: {stream.bytes} of {stream.bytes_max} bytes")
    reasons.extend(f"lane {lane.lane}: {lane.trouble}" for lane in progress if lane.trouble)
    parked = {group: _parked([entry for entry in progress if entry.group == group]) for group in _names(progress)}
    waiting_rows = {
        group: parked_reason(pipeline, counts["quarantined"], counts["dead_letters"])
        for group, counts in parked.items()
    }
    reasons.extend(reason for reason in waiting_rows.values() if reason is not None)
    published = stream.last if stream else {}
    groups: dict[int, list[LaneProgress]] = {}
    for entry in progress:
        groups.setdefault(entry.lane, []).append(entry)
    numbers = sorted(lane for lane in {*published, *groups} if lane in groups or not _is_over(lane, published))
    lanes = [_lane(number, published, groups.get(number, [])) for number in numbers]
    waiting = [lane["waiting_events"] for lane in lanes if lane["waiting_events"] is not None]
    return {
        **({"state": "degraded"} if any(waiting_rows.values()) else {}),
        "reason": "; ".join(told_once(reasons)) or None,
        "parked": parked,
        "lanes": lanes,
        "stream": _stream(stream, places) if stream else None,
        "lag": {"stream_events": max(waiting, default=None), "freshness_seconds": _freshness(progress, at)},
    }


def _has_left(entry: LaneProgress, progress: Sequence[LaneProgress]) -> bool:
    """Whether the group has gone on to a log without this lane: what it once said of it is no news."""
    newest = max((other for other in progress if other.group == entry.group), key=lambda other: other.log)
    return entry.log < newest.log and entry.lane >= newest.lanes


def _is_over(lane: int, published: Mapping[int, BatchEnvelope]) -> bool:
    """Whether the stream has gone on to a log without this lane; its old events are purged with the next snapshot."""
    newest = max(published.values(), key=lambda envelope: envelope.log)
    return lane in published and published[lane].log < newest.log and lane >= newest.lanes


def _stream(stream: StreamFacts, places: StreamPlaces | None) -> dict[str, Any]:
    """Its size, and since when it can be replayed: from the last whole snapshot on, as its keeper last said."""
    since = places.replayable_since if places else None
    return {
        "messages": stream.messages,
        "bytes": stream.bytes,
        "bytes_max": stream.bytes_max,
        "replayable_since": since.astimezone(UTC).isoformat(timespec="milliseconds") if since else None,
        "not_rebuildable": places.not_rebuildable if places else "not known: no relay has looked at the stream yet",
        "held_by": list(places.held_by) if places else [],
    }


def _names(progress: Sequence[LaneProgress]) -> list[str]:
    return sorted({entry.group for entry in progress})


def _parked(lanes: Sequence[LaneProgress]) -> dict[str, int]:
    """What waits for a person in one loader group, and how many rows the owner's policy altered."""
    return {
        "quarantined": sum(lane.quarantined for lane in lanes),
        "dead_letters": sum(lane.dead_letters for lane in lanes),
        "altered": sum(lane.altered for lane in lanes),
    }


def _lane(number: int, published: Mapping[int, Any], groups: Sequence[LaneProgress]) -> dict[str, Any]:
    last = published.get(number)
    slowest = min(groups, key=lambda entry: (entry.log, entry.sequence), default=None)
    return {
        "lane": number,
        "published_log": last.log if last else None,
        "published_sequence": last.sequence if last else None,
        "applied_log": slowest.log if slowest else None,
        "applied_sequence": slowest.sequence if slowest else None,
        "waiting_events": _waiting(last, slowest),
        "groups": {entry.group: _group(entry) for entry in groups},
    }


def _waiting(last: Any, slowest: LaneProgress | None) -> int | None:
    """Sequences published and not yet applied; None where nothing was published that we could read."""
    if last is None:
        return None
    if slowest is None or slowest.log < last.log:
        return int(last.sequence)
    return max(0, int(last.sequence) - slowest.sequence) if slowest.log == last.log else 0


def _group(entry: LaneProgress) -> dict[str, Any]:
    shown = {"log", "sequence", "event_id", "honest_time", "applied_at", "building", "trouble"}
    return entry.model_dump(mode="json", include=shown | {"quarantined", "dead_letters", "altered"})


def _freshness(progress: Sequence[LaneProgress], at: datetime) -> float | None:
    """How old the target may be: every lane of every group must say, else nobody knows."""
    times = [entry.honest_time for entry in progress]
    if not times or any(moment is None for moment in times):
        return None
    oldest = min(moment.astimezone(UTC) for moment in times if moment is not None)
    return round(max(0.0, (at - oldest).total_seconds()), 1)
