"""Source digests behind one harness: the reference in memory, DuckDB, and the Redshift driver on the stand-in."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.digests.values import TEXTS
from tests.conformance.source.conftest import (
    DuckDbHarness,
    Harness,
    MemoryHarness,
    RedshiftHarness,
    redshift_options,
)

from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.application.verifying.ports import Compared, SourceDigests
from qupersync_extractor.domain.pipeline import Relation
from qupersync_extractor.infrastructure.memory.digests import MemoryDigests
from qupersync_extractor.infrastructure.sources.digests.duckdb import DuckDbDigests
from qupersync_extractor.infrastructure.sources.digests.redshift import RedshiftDigests
from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.row_digests import digested_columns, row_digests
from qupersync_shared.contracts.schema import RowSchema

WHOLE = KeyRange(after=None)


@dataclass(frozen=True, kw_only=True)
class Digesting:
    """An engine, and the types that its tables can hold."""

    harness: Harness
    make: Callable[[Any], SourceDigests]

    @property
    def types(self) -> list[str]:
        held = self.harness.types
        return [name for name in TEXTS if name in held or name.startswith("numeric")]

    @property
    def digests(self) -> SourceDigests:
        return self.make(self.harness.source)

    async def compared(self, schema: RowSchema, rows: Sequence[dict[str, Any]]) -> Compared:
        """A table with these rows."""
        relation = await self.harness.create(schema.columns, rows)
        return compared_as(relation, schema)

    async def reference(self, compared: Compared) -> list[str]:
        """The digests of the rows as the source adapter reads them, by the definition."""
        request = ReadRequest(relation=compared.relation, schema=compared.schema, range=WHOLE, limit=100_000)
        return row_digests(await self.harness.source.read(request), compared.columns)


def compared_as(relation: Relation, schema: RowSchema) -> Compared:
    return Compared(relation=relation, schema=schema, columns=digested_columns(schema))


_ENGINES = ["duckdb", pytest.param("redshift-standin", marks=pytest.mark.integration)]


@pytest.fixture(params=["memory", *_ENGINES])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Digesting]:
    async with _opened(request, tmp_path) as made:
        yield made


@pytest.fixture(params=_ENGINES)
async def sql_engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Digesting]:
    """Those that compute digests in SQL: what is in memory is the definition itself."""
    async with _opened(request, tmp_path) as made:
        yield made


@asynccontextmanager
async def _opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Digesting]:
    own: RedshiftSource | None = None
    match request.param:
        case "memory":
            made = Digesting(harness=MemoryHarness(), make=MemoryDigests)
        case "duckdb":
            made = Digesting(harness=DuckDbHarness(tmp_path / "warehouse.duckdb"), make=DuckDbDigests)
        case _:
            stack: ThreadedStack = request.getfixturevalue("local_stack")
            own = redshift = RedshiftSource(redshift_options(stack.stack.source))  # of its own, as in production
            made = Digesting(harness=RedshiftHarness(stack.stack.source), make=lambda _: RedshiftDigests(redshift))
    yield made
    await made.harness.source.close()
    if own is not None:
        await own.close()
