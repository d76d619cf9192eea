"""The statements of bounded reads: which conditions, in which order, with which values."""

import pytest

from qupersync_extractor.application.ports import CursorRange, KeyList, KeyRange, ReadRequest
from qupersync_extractor.domain.pipeline import Relation, SourceQuery, SourceTable
from qupersync_extractor.infrastructure.sources.paging_sql import Sql, keys_max, page_statement, quoted, source_of
from qupersync_extractor.infrastructure.sources.redshift_sql import RedshiftDialect, literal, time_text
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.positions import Key, Position, Scalar, ScalarKind

TABLE = SourceTable("billing", "cost")
SCHEMA = RowSchema(
    columns=(
        Column("account", LogicalType.parse("varchar")),
        Column("id", LogicalType.parse("bigint")),
        Column("at", LogicalType.parse("timestamp")),
    ),
    key=("account", "id"),
)
KEY: Key = (Scalar(ScalarKind.TEXT, "a"), Scalar(ScalarKind.INT, "7"))
AT = Scalar(ScalarKind.TIMESTAMP, "2024-01-01 00:00:00.000000")
PRESENT = 'q."account" IS NOT NULL AND q."id" IS NOT NULL'
TEXT, NUMBER, TIME = "CAST(? AS VARCHAR(65535))", "CAST(? AS BIGINT)", "CAST(? AS TIMESTAMP)"


def statement(
    wanted: CursorRange | KeyRange | KeyList, relation: Relation = TABLE, limit: int = 9, schema: RowSchema = SCHEMA
) -> Sql:
    request = ReadRequest(relation=relation, schema=schema, range=wanted, limit=limit)
    return page_statement(request, RedshiftDialect())


def where(sql: Sql) -> str:
    return (
        sql.text.split("WHERE\n")[1]
        .split("\nORDER BY")[0]
        .removeprefix('q."account" IS NOT NULL AND q."id" IS NOT NULL')
    )


def test_a_cursor_range_is_spelled_out_and_led_by_what_prunes() -> None:
    sql = statement(CursorRange(cursor="at", after=Position(cursor=AT, key=KEY), upto=AT))
    assert where(sql) == (
        ' AND q."at" IS NOT NULL'
        f' AND q."at" <= {TIME}'
        f' AND q."at" >= {TIME}'
        f' AND (q."at" > {TIME} OR (q."at" = {TIME} AND'
        f' (q."account" > {TEXT} OR (q."account" = {TEXT} AND q."id" > {NUMBER}))))'
    )
    assert sql.values == (AT.text, AT.text, AT.text, AT.text, "a", "a", "7")
    assert sql.text.endswith('ORDER BY\nq."at", q."account", q."id"\nLIMIT\n9')
    assert sql.text.startswith(
        'SELECT\nq."account", q."id", CAST(q."at" AS VARCHAR(64))\nFROM\n"billing"."cost" AS q\n'
    )


@pytest.mark.parametrize(("position", "operator"), [(Position.before(AT), ">="), (Position.after(AT), ">")])
def test_the_ends_of_a_cursor_value_need_no_key(position: Position, operator: str) -> None:
    sql = statement(CursorRange(cursor="at", after=position, upto=AT))
    assert where(sql).endswith(f' AND q."at" <= {TIME} AND q."at" {operator} {TIME}')


def test_a_key_range_has_both_ends() -> None:
    sql = statement(KeyRange(after=KEY, upto=KEY))
    assert where(sql) == (
        f' AND q."account" >= {TEXT} AND (q."account" > {TEXT} OR (q."account" = {TEXT} AND q."id" > {NUMBER}))'
        f' AND q."account" <= {TEXT} AND (q."account" < {TEXT} OR (q."account" = {TEXT} AND q."id" <= {NUMBER}))'
    )
    assert sql.values == ("a", "a", "a", "7") * 2
    assert where(statement(KeyRange(after=None))) == ""


def test_key_lists_of_similar_length_share_a_text() -> None:
    keys = tuple((Scalar(ScalarKind.TEXT, "a"), Scalar(ScalarKind.INT, str(n))) for n in range(9))
    five, eight, nine = (statement(KeyList(keys=keys[:count])) for count in (5, 8, 9))
    assert five.text == eight.text != nine.text
    assert five.values == eight.values[:10] + ("a", "4") * 3


def test_a_key_list_has_a_greatest_length() -> None:
    most = keys_max(SCHEMA)
    assert len(statement(KeyList(keys=(KEY,) * most)).values) == 2 * most <= 32767
    with pytest.raises(ValueError, match=str(most)):
        statement(KeyList(keys=(KEY,) * (most + 1)))


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="1 values for 2 key columns"):
        statement(KeyRange(after=KEY[:1]))


def test_the_text_depends_on_the_shape_alone() -> None:
    other: Key = (Scalar(ScalarKind.TEXT, "'; DROP TABLE x"), Scalar(ScalarKind.INT, "8"))
    assert statement(KeyRange(after=KEY)).text == statement(KeyRange(after=other)).text


def test_names_and_queries_stay_what_they_are() -> None:
    assert quoted('a"b') == '"a""b"'
    assert source_of(SourceTable('a"', "b")) == '"a"""."b" AS q'
    assert source_of(SourceQuery(" SELECT 1 -- one ;\n;\n")) == "(\nSELECT 1 -- one ;\n\n) AS q"
    assert literal("it's \\") == "'it''s '"


@pytest.mark.parametrize(
    ("kind", "text", "bound"),
    [
        (ScalarKind.TIMESTAMPTZ, "2024-01-01 00:00:00.000000Z", "2024-01-01 00:00:00.000000+00"),
        (ScalarKind.DATE, "-0043-03-15", "0044-03-15 BC"),
        (ScalarKind.TIMESTAMP, "0000-01-01 00:00:00.000000", "0001-01-01 00:00:00.000000 BC"),
        (ScalarKind.TIMESTAMPTZ, "-4712-01-01 00:00:00.000000Z", "4713-01-01 00:00:00.000000+00 BC"),
        (ScalarKind.INT, "-1-1", "-1-1"),
    ],
)
def test_canonical_times_become_what_the_server_reads(kind: ScalarKind, text: str, bound: str) -> None:
    assert time_text(Scalar(kind, text)) == bound
