"""Digests that DuckDB computes."""

from typing import Final

import pyarrow as pa

from qupersync_extractor.application.ports import KeyRange
from qupersync_extractor.application.verifying.ports import Compared, KeyedDigest, SourceRange
from qupersync_extractor.infrastructure.sources.digests.statements import (
    ranges_statement,
    rows_statement,
    stretch_end_statement,
)
from qupersync_extractor.infrastructure.sources.duckdb import DuckDbSource
from qupersync_extractor.infrastructure.sources.duckdb_types import DuckDbDialect, to_batch
from qupersync_extractor.infrastructure.sources.paging_sql import Sql
from qupersync_shared.contracts.row_digests import BYTES_SEEN, DigestedColumn, Form, Sums
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import key_at
from qupersync_shared.contracts.types import Kind
from qupersync_shared.kernel.positions import Key

_TEXT: Final = "CAST({} AS VARCHAR)"
_FLOAT: Final = (
    "CASE WHEN isnan({}) THEN 'NaN' WHEN isinf({}) THEN CASE WHEN {} > 0 THEN 'Infinity' ELSE '-Infinity' END "
    "ELSE printf('%.#g', CAST({} AS DOUBLE) + 0) END"
)
_OF_DAY: Final = "strftime({}, '%d %H:%M:%S.%f')"
_CANONICAL: Final[dict[Kind, str]] = {
    Kind.REAL: _FLOAT.replace("#", "6"),
    Kind.DOUBLE: _FLOAT.replace("#", "15"),
    Kind.DATE: "replace(CAST({} AS VARCHAR), ' (BC)', ' BC')",
    Kind.TIMESTAMP: (
        "CASE WHEN isinf({}) THEN CAST({} AS VARCHAR) "
        "ELSE printf('%04d', CASE WHEN year({}) > 0 THEN year({}) ELSE 1 - year({}) END) "
        "|| strftime({}, '-%m-%d %H:%M:%S.%f') || CASE WHEN year({}) > 0 THEN ' AD' ELSE ' BC' END END"
    ),
    Kind.TIME: _OF_DAY.replace("{}", "DATE '2000-01-01' + CAST({} AS TIME)"),
    Kind.TIMETZ: _OF_DAY.replace("{}", "CAST(DATE '2000-01-01' + {} AS TIMESTAMP)"),
    Kind.VARBYTE: f"CAST(octet_length({{}}) AS VARCHAR) || ':' || lower(left(hex({{}}), {2 * BYTES_SEEN}))",
    Kind.UUID: "replace(CAST({} AS VARCHAR), '-', '')",
    # A number below 1 whose digits are all behind the point is written without a zero before it.
    Kind.NUMERIC: "regexp_replace(CAST({} AS VARCHAR), '^(-?)\\.', '\\10.')",
}


class DuckDbDigestDialect(DuckDbDialect):
    """DuckDB's spelling; the session's time zone is UTC."""

    def canonical(self, expression: str, one: DigestedColumn) -> str:
        if one.form is Form.TRIMMED:
            return f"rtrim({_TEXT.replace('{}', expression)}, ' ')"
        kind = one.column.type.kind
        if kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ):  # in microseconds, and in UTC
            return _CANONICAL[Kind.TIMESTAMP].replace("{}", f"CAST({expression} AS TIMESTAMP)")
        return _CANONICAL.get(kind, _TEXT).replace("{}", expression)

    def part(self, digest: str, start: int, digits: int) -> str:
        return f"CAST('0x' || substr({digest}, {start}, {digits}) AS BIGINT)"

    def text(self, expression: str) -> str:
        return _TEXT.replace("{}", expression)


class DuckDbDigests:
    """The port `SourceDigests` over a DuckDB source."""

    def __init__(self, source: DuckDbSource) -> None:
        self._source = source
        self._dialect = DuckDbDigestDialect()
        self._bytes = 0

    @property
    def bytes_moved(self) -> int:
        return self._bytes

    async def opaque(self, compared: Compared) -> frozenset[str]:  # noqa: ARG002  # the port's signature
        return frozenset()

    async def stretch_end(self, compared: Compared, within: KeyRange, *, rows: int) -> Key | None:
        found = await self._fetch(stretch_end_statement(compared, within, rows, self._dialect), compared)
        keys = _keys(found, compared)
        return keys[0] if keys else None

    async def ranges(self, compared: Compared, within: KeyRange, *, keys: int) -> list[SourceRange]:
        found = await self._fetch(ranges_statement(compared, within, keys, self._dialect), compared)
        width = len(compared.schema.key)
        sums = zip(*(found.column(width + place).to_pylist() for place in range(3)), strict=True)
        return [
            SourceRange(last=key, sums=Sums(rows=int(rows), first=int(first), second=int(second)))
            for key, (rows, first, second) in zip(_keys(found, compared), sums, strict=True)
        ]

    async def rows(self, compared: Compared, within: KeyRange, *, limit: int) -> list[KeyedDigest]:
        found = await self._fetch(rows_statement(compared, within, limit, self._dialect), compared)
        digests = found.column(len(compared.schema.key)).to_pylist()
        return [KeyedDigest(key=key, digest=one) for key, one in zip(_keys(found, compared), digests, strict=True)]

    async def _fetch(self, statement: Sql, compared: Compared) -> pa.Table:
        found = await self._source.answer(statement, compared.relation)
        self._bytes += len(statement.text) + found.nbytes
        return found


def _keys(found: pa.Table, compared: Compared) -> list[Key]:
    keys = RowSchema(columns=compared.schema.key_columns, key=compared.schema.key)
    batch = to_batch(found.select(range(len(keys.columns))), keys)
    return [key_at(batch, keys, index) for index in range(batch.num_rows)]
