"""Reading whole tables page by page, as the extractor does."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from qupersync_extractor.application.ports import CursorRange, KeyList, KeyRange, ReadRequest, Source
from qupersync_extractor.domain.pipeline import Relation
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.slots import key_at, scalar_at
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.positions import Key, Position, Scalar, ScalarKind

PAGES_MAX = 100


def column(name: str, logical: str) -> Column:
    return Column(name, LogicalType.parse(logical))


def naive(*parts: int) -> datetime:
    """A timestamp without zone."""
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)  # type: ignore[arg-type,misc]


def text(value: str) -> Scalar:
    return Scalar(ScalarKind.TEXT, value)


def number(value: int) -> Scalar:
    return Scalar(ScalarKind.INT, str(value))


async def page(
    source: Source, relation: Relation, schema: RowSchema, wanted: CursorRange | KeyRange | KeyList, limit: int = 1000
) -> pa.RecordBatch:
    batch = await source.read(ReadRequest(relation=relation, schema=schema, range=wanted, limit=limit))
    assert batch.schema.equals(schema.arrow(), check_metadata=True)
    batch.validate(full=True)
    assert batch.num_rows <= limit
    return batch


async def rows(
    source: Source, relation: Relation, schema: RowSchema, wanted: CursorRange | KeyRange | KeyList, limit: int = 1000
) -> list[dict[str, Any]]:
    return list((await page(source, relation, schema, wanted, limit)).to_pylist())


async def by_key(source: Source, relation: Relation, schema: RowSchema, limit: int) -> list[dict[str, Any]]:
    """The whole table in pages of `limit` rows."""
    found: list[dict[str, Any]] = []
    after: Key | None = None
    for _ in range(PAGES_MAX):
        batch = await page(source, relation, schema, KeyRange(after=after), limit)
        found += batch.to_pylist()
        if batch.num_rows < limit:
            return found
        after = key_at(batch, schema, batch.num_rows - 1)
    raise AssertionError("the pages do not end")


async def by_cursor(
    source: Source, relation: Relation, schema: RowSchema, cursor: str, upto: Scalar, limit: int
) -> list[dict[str, Any]]:
    """Everything up to `upto` in pages of `limit` rows."""
    found: list[dict[str, Any]] = []
    after: Position | None = None
    for _ in range(PAGES_MAX):
        batch = await page(source, relation, schema, CursorRange(cursor=cursor, after=after, upto=upto), limit)
        found += batch.to_pylist()
        if batch.num_rows < limit:
            return found
        value = scalar_at(batch.column(cursor), schema.column(cursor).type, batch.num_rows - 1)
        assert value is not None
        after = Position(cursor=value, key=key_at(batch, schema, batch.num_rows - 1))
    raise AssertionError("the pages do not end")
