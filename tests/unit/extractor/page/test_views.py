"""From the status document to what is shown: states, verdicts, hops, curves. Nothing is good that is not known."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.unit.extractor.page.world import NAMES, configuration, document, entry, rebuild

from qupersync_extractor.application.ledger import LedgerEntry
from qupersync_extractor.domain.whereabouts import PageState
from qupersync_extractor.interface.page.described import describe_pipelines, objective_seconds
from qupersync_extractor.interface.page.overview import Choice, Overview, Seen, overview
from qupersync_extractor.interface.page.pipeline import lane_lines, minutes, pipeline_page
from qupersync_extractor.interface.page.rates import PAGES_MAX, Flow, rows_per_second
from qupersync_extractor.interface.page.rebuilds import groups_of, shadow
from qupersync_extractor.interface.page.rendering import environment
from qupersync_extractor.interface.page.series import POINTS_MAX, SPACING_SECONDS, Series, sparkline
from qupersync_extractor.interface.page.states import LEVELS, MEANINGS, URGENCY, Level
from qupersync_extractor.interface.page.words import NOTHING
from qupersync_shared.kernel.ids import Log, PipelineName, RunId, Sequence
from qupersync_shared.runtime.cli.document import _STATES

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def seen(told: dict[str, Any], *, now: datetime = NOW) -> Seen:
    return Seen(
        document=told,
        described=describe_pipelines(configuration()),
        source_kind="Redshift",
        source_address="dev at warehouse:5439",
        now=now,
        rates={"cost_usage": 120.0},
    )


def shown(told: dict[str, Any], choice: Choice | None = None) -> Overview:
    return overview(seen(told), choice or Choice(), ())


def of(**entries: dict[str, Any]) -> dict[str, Any]:
    return document(NOW, entries)


def test_every_state_of_the_document_has_words_here() -> None:
    assert set(_STATES) == set(URGENCY) == set(LEVELS) == set(MEANINGS)


@pytest.mark.parametrize("state", [*URGENCY, "some state to come"])
def test_every_state_is_shown_with_its_name_and_only_live_is_good(state: str) -> None:
    found = shown(of(cost_usage=entry(NOW, state=state)))

    assert found.rows[0].state == state
    assert (found.rows[0].level is Level.GOOD) == (state == "live")
    rendered = (
        environment()
        .get_template("overview_live.html")
        .render(o=found, choice=Choice(), root="", now=NOW, visitor=None if state == "none" else _Visitor(), here="/")
    )
    assert state in rendered


class _Visitor:
    may_act = True
    csrf_token = ""


def test_the_verdict_changes_only_when_something_does() -> None:
    younger, older = entry(NOW), entry(NOW)
    older["lag"]["freshness_seconds"] = 400.0

    assert shown(of(cost_usage=younger)).verdict == shown(of(cost_usage=older)).verdict


@pytest.mark.parametrize(
    ("told", "level", "sentence"),
    [
        (document(NOW), Level.GOOD, "All 3 pipelines are live"),
        (of(cost_usage=entry(NOW)), Level.GOOD, "The pipeline is live"),
        (of(cost_usage=entry(NOW), b=entry(NOW, state="paused")), Level.GOOD, "All is well: 1 live, 1 paused"),
        (of(cost_usage=entry(NOW, state="retrying")), Level.LATE, "1 of 1 pipeline needs attention"),
        (
            of(cost_usage=entry(NOW, state="stalled"), b=entry(NOW, state="snapshotting")),
            Level.BAD,
            "1 of 2 pipelines needs attention, 1 reading a snapshot",
        ),
        (of(cost_usage=entry(NOW, state="unknown")), Level.UNKNOWN, "Unknown: how 1 of 1 pipeline stands"),
        (document(NOW, {}), Level.QUIET, "No pipeline is configured yet"),
        (
            document(NOW, reasons=["no loader is alive"]),
            Level.LATE,
            "The pipelines work, and something else is wrong",
        ),
        (
            document(NOW, probes={"nats": {"verdict": "unknown", "seconds": 3.0, "message": "no answer"}}),
            Level.UNKNOWN,
            "Not everything is known: no answer from nats",
        ),
        (document(NOW - timedelta(seconds=20)), Level.UNKNOWN, "Unknown: the numbers below are old"),
        ({}, Level.UNKNOWN, "Unknown: the numbers below are old"),
    ],
)
def test_verdicts(told: dict[str, Any], level: Level, sentence: str) -> None:
    verdict = shown(told).verdict

    assert (verdict.level, verdict.sentence) == (level, sentence)


def test_reasons_of_pipelines_stand_with_them_and_others_with_the_verdict() -> None:
    told = document(NOW, {"cost_usage": entry(NOW, state="stalled", reason="lost")}, reasons=["no loader is alive"])
    found = shown(told)

    assert found.verdict.reasons == ("no loader is alive",)
    assert found.rows[0].reasons == ("lost",)


def test_a_live_pipeline_over_its_objective_is_lagging_and_says_so() -> None:
    late = entry(NOW)
    late["lag"]["freshness_seconds"] = 100_000.0
    row = shown(of(cost_usage=late)).rows[0]

    assert (row.state, row.late) == ("lagging", True)
    assert "by its schedule it should be" in row.reasons[0]


@pytest.mark.parametrize(
    ("section", "seconds"),
    [
        ({"schedule": "continuous", "lookback": "6s", "safety_lag": "1s"}, 96.0),
        ({"schedule": {"every": "15m"}, "lookback": "10m", "safety_lag": "30s"}, 1485.0),
        ({"schedule": {"every": "1h"}, "cursor": None}, 5490.0),
        ({"schedule": {"cron": "0 3 * * *"}}, None),
    ],
)
def test_objectives_follow_from_the_schedule(section: dict[str, Any], seconds: float | None) -> None:
    base = {"from": "a.b", "into": "c.d", "key": ["id"], "cursor": "at"}
    pipelines = {"p": {**base, **section}}

    assert objective_seconds(configuration(pipelines=pipelines).pipelines["p"]) == seconds


def test_hops_that_cannot_be_asked_are_unknown_with_the_reason() -> None:
    told = document(NOW, reasons=["outbox: connection refused", "source: warehouse:5439 does not answer"])
    told["probes"]["nats"] = {"verdict": "unknown", "seconds": 3.0, "message": "no servers available"}
    source, outbox, stream, loaders, target = shown(told).hops

    assert source.level is Level.BAD
    assert [hop.level for hop in (outbox, stream, loaders, target)] == [Level.UNKNOWN] * 4
    assert [hop.figure for hop in (outbox, stream, loaders, target)] == [NOTHING] * 4
    assert outbox.why == "outbox: connection refused"
    assert stream.why == "no servers available"


def test_hops_count_what_waits_and_who_works() -> None:
    told = document(NOW)
    told["processes"].append({**told["processes"][1], "alive": False, "age_seconds": 90.0})
    told["pipelines"]["customers"]["lag"] |= {"outbox_records": 12, "outbox_seconds": 70.0, "stream_events": 4}
    source, outbox, stream, loaders, target = shown(told).hops

    assert source.figure == "120"
    assert (outbox.figure, outbox.level) == ("12", Level.LATE)
    assert stream.figure == "4"
    assert (loaders.figure, loaders.level) == ("1", Level.GOOD)
    assert (target.figure, target.level) == ("12 s", Level.GOOD)


def test_the_worst_come_first_and_other_orders_are_there() -> None:
    told = of(b=entry(NOW, state="stalled"), a=entry(NOW), d=entry(NOW, state="paused"), c=entry(NOW, state="degraded"))
    told["pipelines"]["a"]["lag"]["freshness_seconds"] = 99.0

    def names(**asked: str) -> str:
        return "".join(row.name for row in shown(told, Choice(**asked)).rows)

    assert names() == "bcda"
    assert names(sort="name") == "abcd"
    assert names(sort="freshness")[0] == "a"
    assert names(sort="nonsense") == "bcda"
    assert names(text=" STALL") == "b"


def test_what_waits_for_a_person_is_listed_by_place() -> None:
    told = of(
        cost_usage=entry(NOW, parked={"main": {"quarantined": 2, "dead_letters": 1, "altered": 9}}, withheld_rows=4)
    )
    found = shown(told)

    assert [(one["group"], one["quarantined"], one["dead_letters"]) for one in found.waiting] == [
        ("main", 2, 1),
        ("source", 4, 0),
    ]
    assert found.rows[0].parked == 7


def test_the_watermark_is_the_oldest_of_all_lanes_or_nothing() -> None:
    told = entry(NOW)
    assert shown(of(cost_usage=told)).rows[0].watermark == NOW - timedelta(seconds=12)
    told["lanes"][1]["groups"]["main"]["honest_time"] = None
    assert shown(of(cost_usage=told)).rows[0].watermark is None


def test_lanes_count_what_each_group_lacks() -> None:
    told = entry(NOW)
    told["lanes"][0]["groups"] = {
        "main": {"log": 1, "sequence": 1200, "building": None},
        "older": {"log": 0, "sequence": 7, "building": None},
        "newer": {"log": 2, "sequence": 1, "building": None},
    }
    told["lanes"][1]["groups"] = {}

    assert [(line.lane, line.group, line.waiting) for line in lane_lines(told)] == [
        (0, "main", 4),
        (0, "newer", 0),
        (0, "older", 1204),
        (1, None, None),
    ]


def test_a_pipeline_that_the_document_does_not_have_yet_is_unknown() -> None:
    found = pipeline_page(seen(document(NOW, {})), "cost_usage", runs=None, pages=None)

    assert found.row.state == "unknown"
    assert found.row.freshness_seconds is None
    assert found.runs is None


# ----------------------------------------------------------------------------------------------------------- curves


def test_series_are_bounded_spaced_and_forget_what_left() -> None:
    series = Series()
    for number in range(POINTS_MAX + 40):
        at = NOW + timedelta(seconds=number * SPACING_SECONDS)
        series.see(document(at), {"cost_usage": float(number)})
        series.see(document(at + timedelta(seconds=1)), {})
    points = series.of("cost_usage")

    assert len(points) == POINTS_MAX
    assert points[-1].rows_per_second == float(POINTS_MAX + 39)
    series.see(document(NOW + timedelta(days=1), {"customers": entry(NOW)}), {})
    assert series.of("cost_usage") == ()


def test_series_know_nothing_of_the_time_when_nobody_looked() -> None:
    series = Series()
    for seconds in (0, 5, 600):
        series.see(document(NOW + timedelta(seconds=seconds)), {})

    assert [point.freshness_seconds for point in series.of("customers")] == [12.4, 12.4, None, 12.4]


def test_budget_and_maintenance_are_shown_in_their_own_words() -> None:
    told = document(
        NOW,
        source_budget={"summary": "source budget: 1 of 2 reads under way, 3 waiting"},
        maintenance={"now": True, "ends_at": None, "next_from": None, "summary": "maintenance until <03:30>"},
    )
    rendered = (
        environment()
        .get_template("overview_live.html")
        .render(o=shown(told), choice=Choice(), root="", now=NOW, visitor=_Visitor(), here="/")
    )

    assert "<dd>1 of 2 reads under way, 3 waiting</dd>" in rendered
    assert "maintenance until &lt;03:30&gt;" in rendered


def test_sparklines_break_where_nobody_knew_and_keep_peaks() -> None:
    broken = sparkline([1.0, 2.0, None, 3.0, 4.0])
    peak = sparkline([0.0] * 200 + [9.0] + [0.0] * 200)

    assert broken is not None
    assert len(broken.paths) == 2
    assert peak is not None
    assert any(point.endswith(",1.5") for point in peak.paths[0].split())
    assert sparkline([None, 1.0]) is None


def page(pipeline: str, rows: int, *, ago: float) -> LedgerEntry:
    return LedgerEntry(
        number=1,
        pipeline=PipelineName(pipeline),
        log=Log(1),
        sequence=Sequence(1),
        state=PageState.EXTRACTED,
        run=RunId(uuid4()),
        mode="incremental",
        rows=rows,
        bytes=0,
        extracted_at=NOW - timedelta(seconds=ago),
    )


def test_rates_are_of_the_last_minute_or_of_what_the_pages_cover() -> None:
    assert rows_per_second([page("a", 600, ago=10), page("a", 600, ago=50), page("b", 60, ago=1)], NOW) == {
        "a": 20.0,
        "b": 1.0,
    }
    full = [page("a", 10, ago=20 * number / PAGES_MAX) for number in range(PAGES_MAX)]
    assert rows_per_second(full, NOW)["a"] == pytest.approx(500, rel=0.01)
    assert rows_per_second([], NOW) == {}


def test_rows_a_minute_cover_the_last_hour() -> None:
    told = minutes([page("a", 5, ago=0), page("a", 7, ago=61), page("a", 1, ago=7200)], NOW)

    assert len(told["at"]) == 60
    assert told["rows"][-1] == 5
    assert told["rows"][-3] == 7
    assert sum(told["rows"]) == 12


def test_flow_counts_events_between_documents_and_new_logs_from_their_beginning() -> None:
    flow = Flow()
    assert flow.published_per_second is None
    flow.see(of(cost_usage=entry(NOW)))
    later = document(NOW + timedelta(seconds=10), {"cost_usage": entry(NOW)})
    first, second = later["pipelines"]["cost_usage"]["lanes"]
    first["published_sequence"] += 40
    second |= {"published_log": 2, "published_sequence": 10}
    second["groups"]["main"] |= {"sequence": 1}
    flow.see(later)
    flow.see(later)

    assert flow.published_per_second == 5.0
    assert flow.applied_per_second == 0.0


# --------------------------------------------------------------------------------------------------------- rebuilds


@pytest.mark.parametrize(
    ("changed", "level", "share"),
    [
        ({}, Level.BUSY, 0.42),
        ({"running": False}, Level.QUIET, 0.42),
        ({"trouble": "waits"}, Level.LATE, 0.42),
        ({"ended_at": NOW, "running": False}, Level.GOOD, 0.42),
        ({"ended_at": NOW, "trouble": "3 rows differ"}, Level.BAD, 0.42),
        ({"done": None}, Level.BUSY, None),
        ({"total": 0, "done": 0}, Level.BUSY, None),
    ],
)
def test_rebuilds_are_shown_as_they_stand(changed: dict[str, Any], level: Level, share: float | None) -> None:
    found = shadow(rebuild(NOW, **changed))

    assert (found.level, found.share) == (level, share)


def test_groups_are_those_that_applied_or_live() -> None:
    told = document(NOW)
    told["pipelines"]["customers"]["parked"] = {"other": {"quarantined": 0, "dead_letters": 0, "altered": 0}}
    told["processes"][1]["group"] = "third"

    assert groups_of(told) == ["main", "other", "third"]
    assert set(NAMES) == set(told["pipelines"])
