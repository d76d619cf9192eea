"""What a preflight and a sample ask of Redshift."""

import re
from importlib.resources import files
from typing import Final

import pyarrow as pa

from qupersync_extractor.application.probing import Layout
from qupersync_extractor.domain.pipeline import Relation, SourceTable
from qupersync_extractor.infrastructure.sources.numbered_looks import NumberedLooks
from qupersync_extractor.infrastructure.sources.paging_sql import Sql
from qupersync_extractor.infrastructure.sources.probing_sql import sample_statement
from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource
from qupersync_extractor.infrastructure.sources.redshift_connection import Session
from qupersync_extractor.infrastructure.sources.redshift_sql import RedshiftDialect
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.types import Kind, LogicalType

_LAYOUT: Final = "\n".join(
    line
    for line in (files(__package__) / "redshift_layout.sql").read_text("utf-8").splitlines()
    if not line.startswith("--")
)
_DECLARED: Final = re.compile(r"(character varying|character|varchar|char|bpchar|binary varying|varbyte)\((\d+)\)")
_SUPER_BYTES: Final = 16 << 20
_OTHER_BYTES: Final = 16  # what numbers, moments and truth values need at most
_LONG: Final = {"super": _SUPER_BYTES, "geometry": 1 << 20, "geography": 1 << 20}


class RedshiftProbe(NumberedLooks, RedshiftSource):
    """The port `SourceProbe`: the source itself, with further questions."""

    dialect = RedshiftDialect()

    async def layout(self, relation: Relation) -> Layout | None:
        if not isinstance(relation, SourceTable):
            return None
        fetched = await self._fetch(Sql(_LAYOUT, (relation.schema, relation.name)), relation)
        columns = [(str(name), str(kind), abs(int(place or 0))) for name, kind, place in fetched.rows]
        if not columns:
            return None
        sorted_by = sorted((place, name) for name, _, place in columns if place)
        return Layout(
            sort_key=tuple(name for _, name in sorted_by),
            row_bytes_max=sum(declared_bytes(kind) for _, kind, _ in columns),
        )

    async def version(self) -> str:
        statement, context = Sql("SELECT CAST(version() AS VARCHAR(256))"), self._context(None)
        fetched = await self._pool.run(lambda session: session.fetch(statement, context))
        return short_version(str(fetched.rows[0][0]))

    async def sample_keys(self, relation: Relation, key: RowSchema, limit: int) -> pa.RecordBatch:
        statement = sample_statement(relation, key, await self._dialect(relation), hashed_text, limit)
        context = self._context(relation)

        def taken(session: Session) -> pa.RecordBatch:
            return session.fetch(statement, context).to_batch(key)

        return await self._pool.run(taken)

    async def _numbers(self, statement: Sql, relation: Relation) -> list[int]:
        fetched = await self._fetch(statement, relation)
        return [int(value) for value in fetched.rows[0]]


def hashed_text(expression: str, logical: LogicalType) -> str:
    """The canonical text of a key's value, as far as SQL can write it."""
    match logical.kind:
        case Kind.CHAR | Kind.VARCHAR:
            return f"RTRIM(CAST({expression} AS VARCHAR(65535)))"
        case Kind.BOOLEAN:  # Redshift has no cast from it to text
            return f"CASE WHEN {expression} THEN 'true' ELSE 'false' END"
        case Kind.VARBYTE:
            return f"FROM_VARBYTE({expression}, 'hex')"
        case _:
            return f"CAST({expression} AS VARCHAR(128))"


def declared_bytes(kind: str) -> int:
    """How many bytes a value of a declared type may have."""
    declared = _DECLARED.fullmatch(kind.strip().lower())
    if declared is not None:
        return int(declared[2])
    return _LONG.get(kind.strip().lower(), _OTHER_BYTES)


def short_version(text: str) -> str:
    """`Redshift 1.0.12345` out of what the server tells; its first words where it names no Redshift."""
    found = re.search(r"Redshift\s+([\d.]+)", text)
    return f"Redshift {found[1]}" if found else " ".join(text.split()[:2])
