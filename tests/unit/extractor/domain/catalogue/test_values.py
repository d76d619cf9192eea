"""Value objects: tables and queries by name and text, watermarks and results."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.extractor.domain.catalogue.examples import naive

from qupersync_extractor.domain.catalogue import RedshiftQuery, RedshiftTable, SyncResult, SyncWatermark

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [
        ("billing.cost_usage", "billing", "cost_usage"),
        ("Billing.COST_Usage", "billing", "cost_usage"),
        ("orders", "public", "orders"),
        ('"Odd.Schema"."a ""quoted"" name"', "odd.schema", 'a "quoted" name'),
        (' s."t" ', "s", "t"),
    ],
)
def test_a_table_by_its_name(text: str, schema: str, name: str) -> None:
    assert RedshiftTable.parse(text) == RedshiftTable(schema=schema, name=name)


def test_where_identifiers_are_case_sensitive_quoted_ones_keep_their_case() -> None:
    table = RedshiftTable.parse('"Odd".Table', case_sensitive=True)
    assert (table.schema, table.name) == ("Odd", "table")
    assert str(table) == "Odd.table"


@pytest.mark.parametrize("table", [RedshiftTable("a", "b"), RedshiftTable('we"ird', "x.y"), RedshiftTable("ä b", "c")])
def test_the_quoted_name_names_the_same_table(table: RedshiftTable) -> None:
    assert RedshiftTable.parse(table.quoted, case_sensitive=True) == table


@pytest.mark.parametrize("text", ["", ".", "a.", ".b", "a.b.c", '"a', 'a"b', '""', '"a"b.c', "a..b"])
def test_what_names_no_table(text: str) -> None:
    with pytest.raises(ValueError, match=r"write schema\.table"):
        RedshiftTable.parse(text)


@pytest.mark.parametrize(("schema", "name"), [("", "t"), ("s", " t"), ("s", "a\0b"), ("s" * 128, "t")])
def test_names_that_no_table_has(schema: str, name: str) -> None:
    with pytest.raises(ValueError, match="of a Redshift table"):
        RedshiftTable(schema=schema, name=name)


def test_tables_sort_by_schema_and_name() -> None:
    assert min(RedshiftTable("b", "a"), RedshiftTable("a", "z")).schema == "a"


def test_a_query_has_a_text() -> None:
    assert str(RedshiftQuery("SELECT 1")) == "SELECT 1"
    with pytest.raises(ValueError, match="empty"):
        RedshiftQuery(" \n")


def test_a_watermark_says_how_far_its_table_is() -> None:
    row = {"table_name": "public.orders", "last_sync_time": NOON, "updated_at": NOON, "else": 1}
    watermark = SyncWatermark.from_row(row)
    assert watermark.lag(NOON + timedelta(seconds=90)) == timedelta(seconds=90)
    assert watermark.lag(NOON - timedelta(seconds=1)) == timedelta(0)  # clocks differ a little
    assert watermark.to_dict()["last_sync_time"] == "2026-03-01T12:00:00+00:00"


def test_before_the_first_snapshot_nothing_is_promised() -> None:
    watermark = SyncWatermark(table_name="public.orders", last_sync_time=None, updated_at=None)
    assert watermark.lag(NOON) is None
    assert watermark.to_dict() == {"table_name": "public.orders", "last_sync_time": None, "updated_at": None}


def test_a_watermark_needs_a_table_and_a_zone() -> None:
    with pytest.raises(ValueError, match="target table"):
        SyncWatermark(table_name="", last_sync_time=None, updated_at=None)
    with pytest.raises(ValueError, match="last_sync_time has no time zone"):
        SyncWatermark(table_name="t", last_sync_time=naive("2026-01-01T00:00"), updated_at=None)


def result(**changes: Any) -> SyncResult:
    values: dict[str, Any] = {
        "pipeline": "orders",
        "mode": "incremental",
        "pages": 2,
        "rows": 300,
        "bytes": 4_096,
        "started_at": NOON,
        "ended_at": NOON + timedelta(seconds=1.5),
        **changes,
    }
    return SyncResult(**values)


def test_a_result_says_how_the_run_ended() -> None:
    assert (result().succeeded, result().duration_seconds, result().rows_per_second) == (True, 1.5, 200.0)
    assert not result(error="source: gone").succeeded
    assert result(ended_at=NOON).rows_per_second == 0
    plain = result(trace_id="ab" * 16).to_dict()
    assert (plain["duration_seconds"], plain["succeeded"], plain["trace_id"]) == (1.5, True, "ab" * 16)


@pytest.mark.parametrize(
    "changes", [{"rows": -1}, {"ended_at": NOON - timedelta(seconds=1)}, {"started_at": naive("2026-01-01T00:00")}]
)
def test_a_result_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"negative|before it began|time zone"):
        result(**changes)
