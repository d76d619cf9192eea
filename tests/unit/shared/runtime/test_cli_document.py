"""The status document, decided by pure functions."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from rich.console import Console

from qupersync_shared.contracts.envelope import BatchEnvelope, Mode
from qupersync_shared.contracts.places import StreamPlaces
from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat
from qupersync_shared.runtime.cli.document import assemble, merge, nats_part
from qupersync_shared.runtime.cli.nats_status import NatsFacts, Process, StreamFacts
from qupersync_shared.runtime.cli.status import show
from qupersync_shared.runtime.plugins import StatusPart

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def document(
    *parts: StatusPart, failures: tuple[str, ...] = (), pipelines: tuple[str, ...] = ("cost",)
) -> dict[str, Any]:
    return assemble(pipelines=pipelines, parts=parts, failures=failures, probes={}, now=NOON)


def beat(role: str, age: float = 1.0, *, group: str | None = None, troubles: dict[str, str] | None = None) -> Process:
    heartbeat = ProcessHeartbeat(
        role=role,
        instance=f"{role}-1",
        group=group,
        started_at=NOON,
        beat_at=NOON + timedelta(hours=2),  # its clock is wrong, and nobody minds
        version="1",
        troubles=troubles or {},
    )
    return Process(beat=heartbeat, age_seconds=age)


def applied(sequence: int, *, lane: int = 0, log: int = 1, group: str = "main", **more: Any) -> LaneProgress:
    return LaneProgress(
        group=group,
        pipeline="cost",
        lane=lane,
        lanes=2,
        log=log,
        sequence=sequence,
        event_id=UUID(int=sequence),
        applied_at=NOON,
        honest_time=more.pop("honest_time", NOON - timedelta(seconds=30)),
        **more,
    )


def published(sequence: int, *, lane: int = 0, log: int = 1, lanes: int = 2) -> BatchEnvelope:
    return BatchEnvelope(
        id=uuid4(),
        source="urn:test",
        subject="s",
        time=NOON,
        pipeline="cost",
        lane=lane,
        lanes=lanes,
        log=log,
        sequence=sequence,
        mode=Mode.INCREMENTAL,
        row_count=0,
        key_columns=("id",),
        schema_fingerprint="f",
        checksum="c",
        correlation_id=uuid4(),
    )


def facts(
    *events: BatchEnvelope, lanes: tuple[LaneProgress, ...] = (), processes: tuple[Process, ...] | None = None
) -> NatsFacts:
    stream = StreamFacts(messages=9, bytes=900, bytes_max=1000, last={event.lane: event for event in events})
    running = (beat("extractor"), beat("loader", group="main")) if processes is None else processes
    return NatsFacts(at=NOON, streams={"cost": stream}, lanes={"cost": list(lanes)}, processes=list(running))


def test_nothing_wrong_means_no_reason() -> None:
    part = nats_part(["cost"], facts(published(7), lanes=(applied(7),)))
    found = document(part, StatusPart(pipelines={"cost": {"state": "live"}}))
    assert (found["reason"], found["reasons"]) == (None, [])
    assert found["pipelines"]["cost"]["state"] == "live"
    assert found["pipelines"]["cost"]["lag"] == {
        "source_seconds": None,
        "outbox_records": None,
        "outbox_bytes": None,
        "stream_events": 0,
        "freshness_seconds": 30.0,
    }


def test_what_spares_the_source_has_a_line_each_and_is_no_reason() -> None:
    sections = {"source_budget": {"summary": "source budget: 1 of 4 reads"}, "maintenance": {"summary": "until 03:30"}}
    written = io.StringIO()
    found = document(StatusPart(pipelines={"cost": {"state": "live"}}, sections=sections))
    show(found, Console(file=written, width=200))
    assert found["reason"] is None
    assert written.getvalue().splitlines()[-2:] == ["source budget: 1 of 4 reads", "until 03:30"]
    show(document(StatusPart(sections=dict.fromkeys(sections))), Console(file=written))


def test_a_pipeline_nobody_speaks_of_is_unknown() -> None:
    found = document(failures=("nats: no answer within 3 s",))
    assert found["pipelines"]["cost"]["state"] == "unknown"
    assert found["reason"] == "nats: no answer within 3 s"


def test_the_worse_state_and_every_reason_stand() -> None:
    found = document(
        StatusPart(pipelines={"cost": {"state": "live", "reason": None}}),
        StatusPart(pipelines={"cost": {"state": "degraded", "reason": "3 rows are quarantined"}}),
        StatusPart(pipelines={"cost": {"state": "snapshotting", "reason": "the source is slow"}}),
    )
    cost = found["pipelines"]["cost"]
    assert (cost["state"], cost["reason"]) == ("degraded", "3 rows are quarantined; the source is slow")
    assert found["reason"] == "cost: 3 rows are quarantined; the source is slow"


def test_a_pipeline_with_a_reason_is_not_live() -> None:
    found = document(
        StatusPart(pipelines={"cost": {"state": "live"}}), StatusPart(pipelines={"cost": {"reason": "target: refused"}})
    )
    assert found["pipelines"]["cost"]["state"] == "retrying"


def test_lanes_of_several_parts_are_merged_by_number() -> None:
    found = document(
        StatusPart(pipelines={"cost": {"lanes": [{"lane": 1, "published_sequence": 9}, {"lane": 0}]}}),
        StatusPart(pipelines={"cost": {"lanes": [{"lane": 1, "applied_sequence": 8, "published_sequence": None}]}}),
    )
    assert found["pipelines"]["cost"]["lanes"] == [
        {"lane": 0},
        {"lane": 1, "published_sequence": 9, "applied_sequence": 8},
    ]


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        ({"a": 1}, {"a": None}, {"a": 1}),
        ({"a": None}, {"a": 1}, {"a": 1}),
        ({}, {"a": None}, {"a": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"reason": "x"}, {"reason": "x"}, {"reason": "x"}),
        ({"state": "unknown"}, {"state": "live"}, {"state": "live"}),
        ({"state": "stalled"}, {"state": "live"}, {"state": "stalled"}),
        ({"state": "something new"}, {"state": "live"}, {"state": "something new"}),
    ],
)
def test_merging(one: dict[str, Any], other: dict[str, Any], merged: dict[str, Any]) -> None:
    assert merge(one, other) == merged


def cost_of(given: NatsFacts) -> dict[str, Any]:
    found = document(nats_part(["cost"], given))["pipelines"]["cost"]
    assert isinstance(found, dict)
    return found


def test_a_lane_shows_what_was_published_and_what_the_slowest_group_applied() -> None:
    lanes = (applied(9), applied(4, group="second"), applied(7, lane=1))
    cost = cost_of(facts(published(9), published(7, lane=1), lanes=lanes))
    assert [
        (lane["published_sequence"], lane["applied_sequence"], lane["waiting_events"]) for lane in cost["lanes"]
    ] == [
        (9, 4, 5),
        (7, 7, 0),
    ]
    assert set(cost["lanes"][0]["groups"]) == {"main", "second"}
    assert cost["lag"]["stream_events"] == 5


@pytest.mark.parametrize(
    ("event", "lane", "waiting"),
    [
        (published(9), None, 9),
        (published(3, log=2), applied(9, log=1), 3),
        (published(9, log=1), applied(3, log=2), 0),
        (None, applied(3), None),
    ],
)
def test_what_waits_across_logs(event: BatchEnvelope | None, lane: LaneProgress | None, waiting: int | None) -> None:
    cost = cost_of(facts(*((event,) if event else ()), lanes=(lane,) if lane else ()))
    assert cost["lanes"][0]["waiting_events"] == waiting


def test_freshness_is_unknown_while_one_lane_withholds_its_time() -> None:
    assert cost_of(facts(lanes=(applied(1), applied(1, lane=1, honest_time=None))))["lag"]["freshness_seconds"] is None
    oldest = applied(1, lane=1, honest_time=NOON - timedelta(hours=1))
    assert cost_of(facts(lanes=(applied(1), oldest)))["lag"]["freshness_seconds"] == 3600


def test_lanes_that_were_left_behind_are_not_shown_and_hold_no_time_back() -> None:
    old = [applied(9, lane=lane, honest_time=NOON - timedelta(days=1)) for lane in (2, 3)]
    old = [entry.model_copy(update={"lanes": 4}) for entry in old]
    now = [applied(1, lane=lane, log=2) for lane in (0, 1)]
    stream = StreamFacts(
        messages=4,
        bytes=4,
        bytes_max=-1,
        last={
            0: published(1, log=2),
            1: published(1, lane=1, log=2),
            2: published(12, lane=2, lanes=4),
            3: published(12, lane=3, lanes=4),
        },
    )
    facts = NatsFacts(at=NOON, streams={"cost": stream}, lanes={"cost": [*now, *old]})
    entry = document(nats_part(["cost"], facts))["pipelines"]["cost"]
    assert [lane["lane"] for lane in entry["lanes"]] == [0, 1]
    assert (entry["lag"]["freshness_seconds"], entry["lag"]["stream_events"]) == (30.0, 0)
    # As long as a group has not left the old log, its lanes are shown: they are all it has.
    facts = NatsFacts(at=NOON, streams={"cost": stream}, lanes={"cost": old})
    entry = document(nats_part(["cost"], facts))["pipelines"]["cost"]
    assert [lane["lane"] for lane in entry["lanes"]] == [0, 1, 2, 3]


def test_troubles_of_lanes_and_living_processes_are_reasons() -> None:
    processes = (
        beat("extractor", troubles={"": "source: connection refused", "cost": "source: no grant"}),
        beat("loader", group="main", troubles={"other": "not this pipeline"}),
        beat("loader", age=600, group="main", troubles={"": "said by a dead process", "cost": "and this"}),
    )
    found = document(nats_part(["cost"], facts(lanes=(applied(1, trouble="target: disk full"),), processes=processes)))
    assert found["reasons"] == [
        "extractor extractor-1: source: connection refused",
        "cost: source: no grant; lane 0: target: disk full",
    ]


@pytest.mark.parametrize(
    ("processes", "reasons"),
    [
        ((), ["no extractor is running"]),
        ((beat("extractor"), beat("loader", 40)), ["no loader is alive: the last heartbeat is 40 s old"]),
        ((beat("extractor"), beat("loader", 40), beat("loader", 2)), []),
        (
            (beat("extractor"), beat("loader", group="a"), beat("loader", 99, group="b")),
            ["no loader of group b is alive: the last heartbeat is 99 s old"],
        ),
        ((beat("extractor"), beat("loader"), beat("relay", 99)), []),
    ],
)
def test_who_is_missed(processes: tuple[Process, ...], reasons: list[str]) -> None:
    assert document(nats_part(["cost"], facts(processes=processes)))["reasons"] == reasons


def test_a_loader_is_missed_while_events_wait_and_nobody_after_a_batch_that_ended_in_order() -> None:
    waiting = document(nats_part(["cost"], facts(published(7), processes=())))
    assert waiting["reasons"] == ["no loader is running"]
    drained = document(nats_part(["cost"], facts(published(7), lanes=(applied(7),), processes=())))
    assert drained["reasons"] == []


def test_without_pipelines_nobody_is_missed() -> None:
    empty = NatsFacts(at=NOON)
    assert document(nats_part([], empty), pipelines=())["reason"] is None


def test_a_missing_and_a_full_stream_are_reasons() -> None:
    running = [beat("extractor"), beat("loader")]
    missing = NatsFacts(at=NOON, processes=running)
    assert "its stream is not declared" in document(nats_part(["cost"], missing))["reason"]
    full = NatsFacts(
        at=NOON, processes=running, streams={"cost": StreamFacts(messages=1, bytes=990, bytes_max=1000, last={})}
    )
    assert "its stream is full: 990 of 1000 bytes" in document(nats_part(["cost"], full))["reason"]


def relaying(alive: bool, *, relays: bool = True) -> dict[str, Any]:
    return {"role": "extractor", "alive": alive, "relays": relays}


@pytest.mark.parametrize(
    ("processes", "seconds", "words"),
    [
        ((relaying(alive=True),), 60.0, None),
        ((), 5.0, None),
        ((), 60.0, "nobody relays"),
        ((relaying(alive=False),), 60.0, "nobody relays"),
        ((relaying(alive=True, relays=False),), 60.0, "nobody relays"),
        ((relaying(alive=True),), 600.0, "although a relay is alive"),
    ],
)
def test_an_outbox_that_nobody_relays_is_a_reason(
    processes: tuple[dict[str, Any], ...], seconds: float, words: str | None
) -> None:
    waiting = {"cost": {"state": "live", "lag": {"outbox_seconds": seconds, "outbox_records": 3}}}
    found = document(StatusPart(pipelines=waiting, processes=processes))
    assert found["reason"] is None if words is None else words in found["reason"]


def test_what_a_stream_can_be_replayed_from_is_shown() -> None:
    unknown = document(nats_part(["cost"], facts(published(7), lanes=(applied(7),))))
    assert unknown["pipelines"]["cost"]["stream"]["replayable_since"] is None
    assert "not known" in unknown["pipelines"]["cost"]["stream"]["not_rebuildable"]
    told = StreamPlaces(pipeline="cost", stream_made_at=NOON, replayable_since=NOON - timedelta(hours=2))
    known = replace(facts(published(7), lanes=(applied(7),)), places={"cost": told})
    stream = document(nats_part(["cost"], known))["pipelines"]["cost"]["stream"]
    assert stream == {
        "messages": 9,
        "bytes": 900,
        "bytes_max": 1000,
        "replayable_since": "2026-01-02T10:00:00.000+00:00",
        "not_rebuildable": None,
        "held_by": [],
    }


def test_what_waits_degrades_a_pipeline_and_names_the_command() -> None:
    lanes = (
        applied(4, quarantined=2, altered=1),
        applied(4, lane=1, quarantined=1, dead_letters=1),
        applied(4, group="other"),
    )
    part = nats_part(["cost"], facts(published(4), published(4, lane=1), lanes=lanes))
    entry = document(part, StatusPart(pipelines={"cost": {"state": "live"}}))["pipelines"]["cost"]
    assert entry["state"] == "degraded"
    assert entry["reason"] == (
        "3 rows in quarantine (see `qupersync quarantine list -p cost`) and "
        "1 dead letter (see `qupersync dead-letters list -p cost`)"
    )
    assert entry["parked"] == {
        "main": {"quarantined": 3, "dead_letters": 1, "altered": 1},
        "other": {"quarantined": 0, "dead_letters": 0, "altered": 0},
    }
    assert [lane["groups"]["main"]["quarantined"] for lane in entry["lanes"]] == [2, 1]


def compared(**reasons: str | None) -> StatusPart:
    """What an extractor tells of comparisons with these groups."""
    told = {group: {"differing": 0 if reason is None else 3, "reason": reason} for group, reason in reasons.items()}
    return StatusPart(pipelines={"cost": {"state": "live", "reason": None, "verifications": told}})


def test_drift_makes_a_pipeline_degraded_while_its_group_is_there() -> None:
    nats = nats_part(["cost"], facts(published(7), lanes=(applied(7), applied(7, group="there"))))
    cost = document(compared(main=None, there="3 keys differ"), nats)["pipelines"]["cost"]
    assert (cost["state"], cost["reason"]) == ("degraded", "3 keys differ")
    assert sorted(cost["verifications"]) == ["main", "there"]
    cost = document(compared(main=None), nats)["pipelines"]["cost"]
    assert (cost["state"], cost["reason"]) == ("live", None)


def test_drift_of_a_group_that_was_removed_is_told_no_more() -> None:
    nats = nats_part(["cost"], facts(published(7), lanes=(applied(7),)))
    cost = document(compared(main=None, removed="3 keys differ"), nats)["pipelines"]["cost"]
    assert (cost["state"], cost["reason"], list(cost["verifications"])) == ("live", None, ["main"])


def test_drift_of_a_group_that_holds_the_stream_and_tells_nothing_counts() -> None:
    held = StreamPlaces(pipeline="cost", stream_made_at=NOON, held_by=("silent",))
    nats = nats_part(["cost"], replace(facts(published(7), lanes=(applied(7),)), places={"cost": held}))
    assert document(compared(silent="3 keys differ"), nats)["pipelines"]["cost"]["state"] == "degraded"


def test_drift_is_told_where_nobody_knows_which_groups_there_are() -> None:
    cost = document(compared(main="3 keys differ"), failures=("nats: no answer",))["pipelines"]["cost"]
    assert (cost["state"], cost["reason"]) == ("degraded", "3 keys differ")
