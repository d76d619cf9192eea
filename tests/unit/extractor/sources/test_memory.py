"""What tests do to the warehouse in memory."""

from datetime import UTC, datetime, timedelta

import pytest

from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.domain.pipeline import SourceTable
from qupersync_extractor.infrastructure.memory.source import EPOCH, MemorySource, MemoryTable
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.errors import SourceUnavailableError

TABLE = SourceTable("main", "t")
SCHEMA = RowSchema(
    columns=(Column("id", LogicalType.parse("integer")), Column("name", LogicalType.parse("varchar"))), key=("id",)
)
EVERYTHING = ReadRequest(relation=TABLE, schema=SCHEMA, range=KeyRange(after=None), limit=100)


@pytest.fixture
def memory() -> MemorySource:
    return MemorySource()


@pytest.fixture
def table(memory: MemorySource) -> MemoryTable:
    return memory.table(TABLE, SCHEMA.columns)


async def test_a_transaction_is_seen_when_it_commits_and_told_while_it_is_open(
    memory: MemorySource, table: MemoryTable
) -> None:
    late = memory.begin()
    late.do(lambda: table.insert({"id": 1}))
    memory.advance(timedelta(minutes=5))
    assert (await memory.clock()).oldest_open == EPOCH
    assert (await memory.read(EVERYTHING)).num_rows == 0
    memory.shows_transactions = False
    assert (await memory.clock()).oldest_open is None
    late.commit()
    assert (await memory.read(EVERYTHING)).num_rows == 1
    memory.begin().rollback()
    assert (await memory.clock()).now == datetime(2024, 1, 1, 0, 5, tzinfo=UTC)


async def test_rows_are_put_and_taken(memory: MemorySource, table: MemoryTable) -> None:
    table.insert({"id": 1, "name": "a"}, {"id": 1, "name": "b"}, {"id": 2})
    table.upsert(["id"], {"id": 1, "name": "c"})
    assert (await memory.read(EVERYTHING)).to_pylist() == [{"id": 1, "name": "c"}, {"id": 2, "name": None}]
    assert table.delete(lambda row: row["id"] == 2) == 1
    assert table.delete() == 1
    with pytest.raises(KeyError, match="wrong"):
        table.insert({"wrong": 1})


async def test_troubles_are_raised_once_each_and_trouble_while_it_lasts(
    memory: MemorySource, table: MemoryTable
) -> None:
    table.insert({"id": 1})
    memory.troubles = [SourceUnavailableError("one"), SourceUnavailableError("two")]
    for word in ("one", "two"):
        with pytest.raises(SourceUnavailableError, match=word):
            await memory.read(EVERYTHING)
    assert (await memory.read(EVERYTHING)).num_rows == 1
    memory.trouble = SourceUnavailableError("down")
    for _ in range(2):
        with pytest.raises(SourceUnavailableError, match="down"):
            await memory.clock()
    memory.trouble = None
    assert len(memory.reads) == 1


async def test_a_hook_changes_the_table_just_before_a_read(memory: MemorySource, table: MemoryTable) -> None:
    memory.before_read = lambda _: table.insert({"id": len(table.rows)})
    assert (await memory.read(EVERYTHING)).num_rows == 1
    assert (await memory.read(EVERYTHING)).num_rows == 2
