"""The health demo's world: awkward enough, the same for the same seed, and expected by hand-computed rows."""

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from qupersync_extractor.domain.catalogue import ENTITY_CLASSES, normalised
from qupersync_local import demo_health_views
from qupersync_local.demo_health_expected import expected_rows
from qupersync_local.demo_health_texts import SHAPES
from qupersync_local.demo_health_world import DATABASE, Node, Query, Step, Table, Vacuum, World

NOW = datetime.fromisoformat("2026-03-01T12:00:00")


@pytest.fixture
def world() -> World:
    return World(queries=400, now=NOW, seed=3)


def query(**changes: object) -> Query:
    values = {
        "id": 7,
        "user_id": 101,
        "session": 1_001,
        "shape": SHAPES[1],
        "number": 42,
        "application": "dbt",
        "started": NOW,
        "parts": ((100, 5, 2), (20, 0, 1)),
        "status": "canceled",
        "ended": NOW + timedelta(seconds=3),
        "queue_us": 1_000_000,
        "compile_us": 500_000,
        "returned": 9,
        **changes,
    }
    return Query(**values)  # type: ignore[arg-type]


def test_the_same_seed_makes_the_same_world(world: World) -> None:
    def played(one: World) -> list[tuple[Step, object]]:
        return [(one.step(NOW + timedelta(seconds=n)), expected_rows(one)) for n in range(20)]

    assert played(world) == played(World(queries=400, now=NOW, seed=3))
    assert expected_rows(World(queries=400, now=NOW, seed=4)) != expected_rows(World(queries=400, now=NOW, seed=3))


def test_nothing_awkward_is_left_out(world: World) -> None:
    steps = [world.step(NOW + timedelta(seconds=n)) for n in range(30)]
    queries = world.queries
    assert {one.status for one in queries} == {"success", "failed", "canceled"}
    assert world.running
    assert any(one.user_id == 1 for one in queries)
    assert all(one.ended is not None and NOW - one.ended > timedelta(days=7) for one in world.too_old)
    assert any(len(one.text) > 4_000 for one in queries)
    assert any(one.application is None for one in queries)
    assert {one.kind.isupper() for one in world.vacuums} == {True, False}
    assert {one.ended is None for one in world.vacuums} == {True, False}
    assert {one.reclaimable_rows is None for one in world.vacuums} == {True, False}
    assert {one.skew_rows is None for one in world.tables} == {True, False}
    assert {one.unsorted is None for one in world.tables} == {True, False}
    assert all(any(getattr(step, kind) for step in steps) for kind in Step.__slots__)
    numbers = defaultdict(set)
    for one in world.connectings:
        numbers[one.session].add(one.application)
    assert any(len(applications) > 1 for applications in numbers.values())


def test_what_has_aged_out_is_expected_all_the_same(world: World) -> None:
    before = {row[0] for row in expected_rows(world)["query_history"]}
    aged = [one.id for n in range(30) for one in world.step(NOW + timedelta(seconds=n)).aged]
    assert aged
    assert before <= {row[0] for row in expected_rows(world)["query_history"]}


def test_every_level_of_the_details_says_the_same_sum() -> None:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    children = defaultdict(set)
    for _, _, child, _, level, *numbers in demo_health_views._detail_rows(query()):
        sums[level] = [one + more for one, more in zip(sums[level], numbers, strict=True)]
        children[level].add(child)
    assert dict(sums) == {level: [120, 5, 3] for level in ("child query", "stream", "segment", "step")}
    assert set(map(frozenset, children.values())) == {frozenset({1, 2})}


def test_pieces_of_a_text_make_the_text() -> None:
    long = query(shape=SHAPES[4])
    pieces = [text for *_, text in demo_health_views._text_rows(long)]
    assert "".join(pieces) == long.text
    assert {len(piece) for piece in pieces[:-1]} == {200}
    assert demo_health_views._query_row(long)[-1] == long.text[:4_000]


def test_a_running_query_shows_an_end() -> None:
    shown = demo_health_views._query_row(query(status="running", ended=None))
    assert shown[7:9] == (NOW, NOW)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
def test_what_runs_have_in_common_is_what_the_entity_says(shape: object) -> None:
    assert normalised(shape.text(1)) == normalised(shape.text(987_654)) == shape.common  # type: ignore[attr-defined]


def test_expectations_of_a_small_world_by_hand(world: World) -> None:
    table = Table(
        schema="ops",
        name="health_01",
        id=16_500,
        sortkeys=("at", "id"),
        diststyle="EVEN",
        visible=300,
        deleted=100,
        size_mb=5,
        unsorted=Decimal("1.25"),
        skew_rows=Decimal("1.37"),
    )
    one = Vacuum(
        transaction=5,
        database=DATABASE,
        table=table,
        kind="Sort Only",
        automatic=True,
        started=NOW,
        recorded=NOW + timedelta(seconds=9),
        phase="Complete",
        ended=NOW + timedelta(seconds=8),
        reclaimable_rows=11,
        reclaimed_blocks=512,
    )
    world.tables, world.vacuums, world.elsewhere = [table], [one], []
    world.queries = [query(), query(id=8, user_id=1)]
    world.nodes = [Node(id=2, slices=4, capacity_mb=100, used_mb=25)]
    (stats,), (queries,), (vacuums,), (nodes,) = (
        [dict(zip(ENTITY_CLASSES[name].field_types(), row, strict=True)) for row in rows]
        for name, rows in expected_rows(world).items()
    )
    assert stats == {
        "schema": "ops",
        "table_name": "health_01",
        "table_id": 16_500,
        "tbl_rows": 400,
        "size_mb": 5,
        "unsorted_pct": Decimal("1.25"),
        "pct_skew_across_slices": Decimal(37),
        "diststyle": "EVEN",
        "sort_key1": "at",
        "sortkey_num": 2,
        "encoded": "Y",
        "pct_rows_marked_for_deletion": Decimal(25),
        "last_vacuum_date": NOW + timedelta(seconds=8),
        "vacuum_type": "SORT ONLY",
    }
    assert queries == {
        "query_id": 7,
        "query_hash": "37aee3249edb3c5336ce8f2d1795723d",  # of: select*from "Odd Name" where id=?
        "user_name": "analyst",
        "application_name": "dbt",
        "database_name": "dev",
        "status": "cancelled",
        "query_type": "SELECT",
        "execution_time_us": 1_500_000,
        "queue_time_us": 1_000_000,
        "compile_time_us": 500_000,
        "rows_returned": 9,
        "bytes_scanned": 125_829_120,  # 120 blocks
        "spilled_blocks": 8,
        "start_time": NOW,
        "end_time": NOW + timedelta(seconds=3),
        "error_message": None,
    }
    assert vacuums == {
        "table_id": 16_500,
        "table_name": "health_01",
        "schema": "ops",
        "vacuum_type": "SORT ONLY",
        "status": "Complete",
        "start_time": NOW,
        "end_time": NOW + timedelta(seconds=8),
        "reclaimable_rows": 11,
        "impacted_blocks": 512,
        "transaction_id": 5,
        "is_automatic": True,
        "record_time": NOW + timedelta(seconds=9),
    }
    assert nodes == {
        "node_id": 2,
        "node_type": None,
        "slice_count": 4,
        "is_nvme": True,
        "capacity_mb": 100,
        "used_mb": 25,
    }
