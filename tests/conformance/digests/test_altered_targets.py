"""A target that is not as the loader made it: marked rows, adopted rows, columns of other types."""

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from tests.conformance.digests.targets import PostgresTargetHarness, opened_postgres
from tests.conformance.digests.values import nasty_rows, schema_of

from qupersync_loader.application.digests import KeyBounds
from qupersync_loader.domain.pipeline import Adopt
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.row_digests import digested_columns, row_digests, sums_of
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import TerminalError

pytestmark = pytest.mark.integration

EVERYTHING = KeyBounds(after=None, upto=None)
TYPES = ["integer", "bigint", "real", "numeric(18,4)", "varchar", "timestamp", "boolean"]
SCHEMA = schema_of(TYPES)


@pytest.fixture
async def target(local_stack: ThreadedStack) -> AsyncIterator[PostgresTargetHarness]:
    async with opened_postgres(local_stack) as made:
        yield made


async def altered(target: PostgresTargetHarness, *statements: str) -> None:
    connection = await asyncpg.connect(target.dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def digests(target: PostgresTargetHarness, schema: RowSchema = SCHEMA) -> list[str]:
    columns = digested_columns(schema)
    async with target.digests.opened(target.pipeline, schema, columns) as table:
        found = [row.digest for row in await table.digests(EVERYTHING, limit=10_000)]
        assert await table.sums(EVERYTHING) == sums_of(found)
    return found


async def test_wider_columns_that_hold_the_same_are_the_same(target: PostgresTargetHarness) -> None:
    batch = await target.load(SCHEMA, nasty_rows(TYPES))
    await altered(
        target,
        "ALTER TABLE people ALTER c0 TYPE bigint, ALTER c1 TYPE numeric, ALTER c2 TYPE double precision, "
        "ALTER c3 TYPE numeric(30, 10), ALTER c4 TYPE varchar, ALTER id TYPE numeric(40, 2), ADD mine text",
    )
    assert await digests(target) == row_digests(batch, digested_columns(SCHEMA))


async def test_no_statement_looks_at_more_of_a_range_than_a_bound(
    target: PostgresTargetHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that keeps everything may have any number of rows before the source's first key."""
    await target.load(SCHEMA, [{"id": n} for n in range(30)])
    monkeypatch.setattr("qupersync_loader.infrastructure.postgres.digests.RANGE_ROWS_MAX", 10)
    async with target.digests.opened(target.pipeline, SCHEMA, digested_columns(SCHEMA)) as table:
        assert (await table.sums(EVERYTHING)).rows == 10


async def test_what_a_wider_column_holds_besides_is_seen(target: PostgresTargetHarness) -> None:
    rows = [{"id": n, "c3": "1.5000", "c0": 7} for n in range(4)]
    batch = await target.load(SCHEMA, rows)
    await altered(
        target,
        "ALTER TABLE people ALTER c3 TYPE numeric, ALTER c0 TYPE numeric, ALTER c2 TYPE double precision",
        "UPDATE people SET c3 = 1.50000001 WHERE id = 1",
        "UPDATE people SET c0 = 7.25 WHERE id = 2",
        "UPDATE people SET c2 = 1e300 WHERE id = 3",
    )
    pairs = zip(await digests(target), row_digests(batch, digested_columns(SCHEMA)), strict=True)
    assert [one == other for one, other in pairs] == [True, False, False, False]


async def test_columns_of_quite_other_types_are_compared_by_their_texts(target: PostgresTargetHarness) -> None:
    await target.load(SCHEMA, [{"id": 1, "c0": 7, "c5": "2024-01-01 00:00:00", "c6": "true"}])
    before = await digests(target)
    await altered(target, "ALTER TABLE people ALTER c0 TYPE text, ALTER c6 TYPE text")
    assert await digests(target) == before
    await altered(target, "UPDATE people SET c0 = 'seven'")
    assert await digests(target) != before


async def test_marked_rows_are_absent_and_rows_that_were_adopted_to_be_kept_are_left_out(
    target: PostgresTargetHarness,
) -> None:
    batch = await target.load(SCHEMA, [{"id": n, "c0": n} for n in range(4)])
    expected = row_digests(batch, digested_columns(SCHEMA))
    await altered(
        target,
        "ALTER TABLE people ADD _qs_deleted_at timestamptz, ALTER _qs_slot DROP NOT NULL",
        "UPDATE people SET _qs_deleted_at = now() WHERE id = 1",
        "UPDATE people SET _qs_slot = NULL WHERE id = 3",
    )
    assert await digests(target) == [expected[0], expected[2], expected[3]]
    target.pipeline = replace(target.pipeline, adopt=Adopt.KEEP)
    assert await digests(target) == [expected[0], expected[2]]


async def test_a_missing_column_or_table_is_named(target: PostgresTargetHarness) -> None:
    with pytest.raises(TerminalError, match="there is no such table"):
        await digests(target)
    await target.load(schema_of(["integer"]), [{"id": 1}])
    with pytest.raises(TerminalError, match="there is no column 'c1'"):
        await digests(target)
