"""Every ready-made entity: its columns, its derived numbers computed by hand, and what it refuses."""

import json
from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.extractor.domain.catalogue.examples import ROWS, naive

from qupersync_extractor.application.entities import entity_columns
from qupersync_extractor.domain.catalogue import (
    ENTITY_CLASSES,
    CostUsageRecord,
    Entity,
    EntityRefusedError,
    NodeDetails,
    QueryHistory,
    QueryStatus,
    ServerlessUsage,
    TableStats,
    VacuumHistory,
    VacuumType,
)
from qupersync_shared.contracts.schema import RESERVED_NAMES, RowSchema
from qupersync_shared.runtime.settings.catalogue import ENTITIES

NAMES = sorted(ENTITY_CLASSES)


def made(name: str, **changes: Any) -> Any:
    return ENTITY_CLASSES[name].from_row({**ROWS[name], **changes})


def test_every_ready_made_view_has_an_entity_with_its_key_and_cursor() -> None:
    for name, ready in ENTITIES.items():
        if not ready.view and name != "cost_usage":
            continue
        entity = ENTITY_CLASSES[name]
        assert (entity.NAME, list(entity.KEY)) == (name, ready.keys["key"])
        assert ready.keys.get("cursor", entity.KEY[0]) in entity.field_types()


@pytest.mark.parametrize("name", NAMES)
def test_the_columns_make_a_schema_that_can_travel(name: str) -> None:
    entity = ENTITY_CLASSES[name]
    schema = RowSchema(columns=entity_columns(entity), key=entity.KEY)
    assert not RESERVED_NAMES & set(schema.names)
    assert [*schema.names, "synced_at"] == [field.name for field in fields(entity)] == list(ROWS[name])


@pytest.mark.parametrize(
    ("name", "types"),
    [
        (
            "table_stats",
            (
                "varchar varchar bigint bigint bigint numeric(5,2) numeric(21,2) varchar varchar integer varchar "
                "numeric(5,2) timestamp varchar"
            ),
        ),
        (
            "query_history",
            (
                "bigint varchar varchar varchar varchar varchar varchar bigint bigint bigint bigint bigint bigint "
                "timestamp timestamp varchar"
            ),
        ),
        (
            "vacuum_history",
            "bigint varchar varchar varchar varchar timestamp timestamp bigint bigint bigint boolean timestamp",
        ),
        ("node_details", "integer varchar integer boolean bigint bigint"),
        ("serverless_usage", "timestamp timestamp double double bigint bigint bigint"),
        (
            "cost_usage",
            (
                "bigint varchar varchar varchar varchar numeric(18,6) numeric(18,6) double varchar date super boolean "
                "timestamp"
            ),
        ),
    ],
)
def test_the_types_of_the_columns(name: str, types: str) -> None:
    assert " ".join(type_.name for type_ in ENTITY_CLASSES[name].field_types().values()) == types


@pytest.mark.parametrize("name", NAMES)
def test_a_row_comes_back_as_it_was_and_fits_into_json(name: str) -> None:
    entity = made(name)
    assert {field.name: getattr(entity, field.name) for field in fields(entity)} == ROWS[name]
    assert list(entity.to_dict()) == list(ROWS[name])
    assert json.loads(json.dumps(entity.to_dict() | entity.derived())) == entity.to_dict() | entity.derived()
    with pytest.raises(FrozenInstanceError):
        entity.synced_at = None
    assert not hasattr(entity, "__dict__")


def test_exact_numbers_and_moments_are_text_in_json() -> None:
    plain = made("cost_usage").to_dict()
    assert plain["effective_cost"] == "12.345678"
    assert plain["usage_date"] == "2026-02-28"
    assert plain["updated_at"] == "2026-03-01T01:02:03.456789"
    assert plain["synced_at"] == "2026-03-01T12:00:05+00:00"
    assert plain["tags"] == {"team": "data"}
    assert made("cost_usage", usage_quantity=float("nan")).to_dict()["usage_quantity"] == "nan"
    assert made("cost_usage", effective_cost=Decimal("1E+3")).to_dict()["effective_cost"] == "1000"


@pytest.mark.parametrize("name", NAMES)
def test_columns_that_the_loader_or_others_add_are_left_aside(name: str) -> None:
    row = {**ROWS[name], "_qs_sequence": 4, "_qs_slot": 1, "_qs_deleted_at": None, "churn_score": 0.5}
    assert ENTITY_CLASSES[name].from_row(row) == made(name)


def test_a_row_from_the_source_has_no_synced_at() -> None:
    row = {name: value for name, value in ROWS["node_details"].items() if name != "synced_at"}
    assert NodeDetails.from_row(row).synced_at is None


@pytest.mark.parametrize("name", NAMES)
def test_a_column_that_is_missing_is_named(name: str) -> None:
    entity = ENTITY_CLASSES[name]
    for absent in entity.KEY:
        row = {column: value for column, value in ROWS[name].items() if column != absent}
        with pytest.raises(EntityRefusedError, match=rf"^{name}\.{absent} is missing from the row\. Select every"):
            entity.from_row(row)


REFUSED = [
    ("query_history", {"query_id": "71"}, "query_history.query_id is of kind str. Give an int that fits bigint"),
    ("query_history", {"query_id": None}, "query_history.query_id is NULL. Give an int that fits bigint"),
    ("query_history", {"query_id": True}, "query_history.query_id is of kind bool. Give an int that fits bigint"),
    ("query_history", {"query_id": 2**63}, "query_history.query_id is out of the range of bigint. Give an int that"),
    ("query_history", {"spilled_blocks": -1}, "query_history.spilled_blocks is not at least 0. Give an int at least 0"),
    ("query_history", {"status": 3}, "query_history.status is of kind int. Give a str that fits varchar"),
    (
        "query_history",
        {"end_time": datetime(2026, 1, 1, tzinfo=UTC)},
        "query_history.end_time is of kind datetime with time zone. Give a datetime without time zone",
    ),
    ("query_history", {"end_time": date(2026, 1, 1)}, "query_history.end_time is of kind date. Give a datetime"),
    (
        "query_history",
        {"synced_at": naive("2026-01-01T00:00")},
        "query_history.synced_at is of kind datetime without time zone. Give a datetime with time zone",
    ),
    ("query_history", {"error_message": b"x"}, "query_history.error_message is of kind bytes. Give a str"),
    ("table_stats", {"unsorted_pct": 12.5}, "table_stats.unsorted_pct is of kind float. Give a Decimal"),
    ("table_stats", {"unsorted_pct": Decimal("100.01")}, "table_stats.unsorted_pct is not between 0 and 100"),
    ("table_stats", {"unsorted_pct": Decimal("1.005")}, "table_stats.unsorted_pct is out of the range of numeric(5,2)"),
    ("table_stats", {"unsorted_pct": Decimal("nan")}, "table_stats.unsorted_pct is out of the range of numeric(5,2)"),
    ("cost_usage", {"usage_date": naive("2026-01-01T00:00")}, "cost_usage.usage_date is of kind datetime without time"),
    ("table_stats", {"tbl_rows": Decimal(3)}, "table_stats.tbl_rows is of kind Decimal. Give an int"),
    ("node_details", {"node_id": 2**31}, "node_details.node_id is out of the range of integer"),
    ("node_details", {"is_nvme": 1}, "node_details.is_nvme is of kind int. Give a bool that fits boolean"),
    ("vacuum_history", {"is_automatic": None}, "vacuum_history.is_automatic is NULL"),
    ("serverless_usage", {"compute_seconds": 8}, "serverless_usage.compute_seconds is of kind int. Give a float"),
    (
        "cost_usage",
        {"usage_date": naive("2026-01-01T00:00")},
        "cost_usage.usage_date is of kind datetime without time zone",
    ),
    ("cost_usage", {"tags": object()}, "cost_usage.tags is of kind object. Give JSON that fits super, or None"),
    (
        "cost_usage",
        {"effective_cost": Decimal("1e13")},
        "cost_usage.effective_cost is out of the range of numeric(18,6",
    ),
]


@pytest.mark.parametrize(("name", "changes", "words"), REFUSED, ids=lambda one: one if isinstance(one, str) else "")
def test_what_does_not_fit_is_refused_by_entity_field_and_cure(name: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(EntityRefusedError) as refused:
        made(name, **changes)
    assert str(refused.value).startswith(words)
    assert (refused.value.entity, [refused.value.field]) == (name, list(changes))
    assert isinstance(refused.value, ValueError)


def test_an_error_never_tells_what_the_row_holds() -> None:
    with pytest.raises(EntityRefusedError) as refused:
        made("query_history", error_message=["password=hunter2"], user_name="analyst")
    assert "hunter2" not in str(refused.value)
    assert "analyst" not in str(refused.value)


@pytest.mark.parametrize("name", NAMES)
def test_replacing_a_field_checks_it_again(name: str) -> None:
    entity: Entity = made(name)
    with pytest.raises(EntityRefusedError):
        replace(entity, **{ENTITY_CLASSES[name].KEY[0]: None})


def test_the_bounds_are_the_types_own() -> None:
    made("query_history", query_id=2**63 - 1)
    made("query_history", query_id=-(2**63))
    made("table_stats", unsorted_pct=Decimal(100), pct_skew_across_slices=Decimal("-12345678901234567.89"))
    made("table_stats", unsorted_pct=Decimal("1.0000"))  # zeros behind the scale say nothing


# --- derived, by hand ------------------------------------------------------------------------------------------------


def test_derived_of_a_query() -> None:
    query: QueryHistory = made("query_history")
    assert query.execution_seconds == 2.5  # 2,500,000 µs
    assert query.queue_seconds == 0.75
    assert query.compile_seconds == 0.125
    assert query.spill_gb == 2.5  # 2,560 blocks of 1 MB, not of 8 KB: 2,560 MB
    assert query.scanned_gb == 3.0
    assert query.succeeded
    assert query.derived() == {
        "execution_seconds": 2.5,
        "queue_seconds": 0.75,
        "compile_seconds": 0.125,
        "spill_gb": 2.5,
        "scanned_gb": 3.0,
        "succeeded": True,
    }
    assert not made("query_history", status="failed").succeeded


def test_derived_of_a_table() -> None:
    table: TableStats = made("table_stats")
    assert str(table.table) == "billing.cost_usage"
    assert table.size_gb == 1.5
    assert table.is_sorted is False
    assert table.since_vacuum(naive("2026-03-01T03:00")) == timedelta(days=2)
    assert table.derived() == {"table": "billing.cost_usage", "size_gb": 1.5, "is_sorted": False}
    assert made("table_stats", unsorted_pct=Decimal("0.00")).is_sorted is True
    bare: TableStats = made(
        "table_stats", unsorted_pct=None, pct_skew_across_slices=None, last_vacuum_date=None, vacuum_type=None
    )
    assert bare.is_sorted is None
    assert bare.since_vacuum(naive("2026-03-01T00:00")) is None


def test_derived_of_a_vacuum() -> None:
    vacuum: VacuumHistory = made("vacuum_history")
    assert vacuum.reclaimable_gb == 0.5  # 512 blocks of 1 MB
    assert vacuum.duration_seconds == 90.0
    assert vacuum.is_complete
    running: VacuumHistory = made(
        "vacuum_history", status="Running", end_time=None, impacted_blocks=None, reclaimable_rows=None
    )
    assert (running.reclaimable_gb, running.duration_seconds, running.is_complete) == (None, None, False)
    assert made("vacuum_history", impacted_blocks=0).reclaimable_gb == 0.0
    assert made("vacuum_history", status="complete ").is_complete


def test_derived_of_a_node() -> None:
    node: NodeDetails = made("node_details")
    assert (node.capacity_gb, node.used_gb) == (2.0, 0.5)
    assert node.storage_utilization_pct == 25.0
    assert node.is_managed_storage
    assert made("node_details", capacity_mb=0).storage_utilization_pct == 0
    assert not made("node_details", node_type="dc2.large").is_managed_storage
    assert not made("node_details", node_type=None).is_managed_storage


def test_derived_of_serverless_usage() -> None:
    usage: ServerlessUsage = made("serverless_usage")
    assert usage.charged_rpu_hours == 1.5
    assert usage.storage_gb == 5.0
    assert usage.interval_seconds == 60.0


def test_derived_of_a_bill_line() -> None:
    line: CostUsageRecord = made("cost_usage")
    assert line.discount == Decimal("7.654322")
    assert made("cost_usage", list_cost=None).discount is None
    assert made("cost_usage", effective_cost=None).discount is None


def test_a_bill_needs_little_more_than_its_lines() -> None:
    names = ("id", "account_id", "service", "effective_cost", "usage_date", "updated_at")
    line = CostUsageRecord.from_row({name: ROWS["cost_usage"][name] for name in names})
    assert (line.region, line.tags, line.is_estimated) == (None, None, None)


# --- words that a vendor may extend ---------------------------------------------------------------------------------


def test_a_status_or_type_that_nobody_knows_is_kept() -> None:
    query = made("query_history", status="suspended", query_type="TELEPORT")
    assert (query.status, query.query_type, query.succeeded) == ("suspended", "TELEPORT", False)
    assert made("vacuum_history", vacuum_type="DEFRAG").vacuum_type == "DEFRAG"
    assert {status.value for status in QueryStatus} == {"success", "failed", "cancelled"}


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("FULL", VacuumType.FULL),
        ("Sort Only", VacuumType.SORT_ONLY),
        (" delete  only ", VacuumType.DELETE_ONLY),
        ("reindex", VacuumType.REINDEX),
        ("Recluster", VacuumType.RECLUSTER),
        ("DEFRAG", None),
        ("", None),
    ],
)
def test_known_vacuum_types_whatever_their_case(text: str, known: VacuumType | None) -> None:
    assert VacuumType.known(text) is known
