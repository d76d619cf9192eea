"""A source whose system views are lists of rows: what the stand-in's PostgreSQL cannot hold, or would take too long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from qupersync_extractor.application.ports import KeyList, KeyRange, ReadRequest, SourceClock
from qupersync_extractor.application.refused import with_refusals
from qupersync_extractor.domain.pipeline import Relation, SourceQuery
from qupersync_shared.contracts.schema import Column
from qupersync_shared.kernel.positions import Scalar

Row = Mapping[str, Any]


@dataclass
class Scripted:
    """Answers by the view that a query names: its rows, in their order, among the keys that are asked for.

    A row's `refused` is why a value of it cannot travel. Views without rows are empty, those in `errors` fail.
    """

    rows: dict[str, list[Row]] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def read(self, request: ReadRequest) -> pa.RecordBatch:
        found = self._rows(request.relation)
        match request.range:
            case KeyList(keys=keys):
                wanted = {key[0].text for key in keys}
                found = [row for row in found if str(row[request.schema.key[0]]) in wanted]
            case KeyRange(after=after, upto=upto):
                name = request.schema.key[0]
                found = [
                    row
                    for row in found
                    if (after is None or row[name] > int(after[0].text))
                    and (upto is None or row[name] <= int(upto[0].text))
                ]
        found = found[: request.limit]
        batch = pa.RecordBatch.from_pylist(
            [{name: row.get(name) for name in request.schema.names} for row in found], schema=request.schema.arrow()
        )
        return with_refusals(batch, {n: row["refused"] for n, row in enumerate(found) if "refused" in row})

    async def describe(self, relation: Relation) -> tuple[Column, ...]:
        self._rows(relation)
        return ()

    def _rows(self, relation: Relation) -> Sequence[Row]:
        assert isinstance(relation, SourceQuery)
        view = relation.sql.split("pg_catalog.")[1].split()[0]
        self.asked.append(view)
        if view in self.errors:
            raise self.errors[view]
        return self.rows.get(view, [])

    async def clock(self) -> SourceClock:
        raise AssertionError(self.asked)

    async def highest(self, relation: Relation, column: Column) -> Scalar | None:
        raise AssertionError(self.asked)

    async def count_nulls(self, relation: Relation, columns: Sequence[str]) -> dict[str, int]:
        raise AssertionError(self.asked)

    async def count_duplicate_keys(self, relation: Relation, key: Sequence[str]) -> int:
        raise AssertionError(self.asked)

    async def close(self) -> None:
        return
