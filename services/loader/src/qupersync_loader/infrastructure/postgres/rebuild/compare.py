"""The comparison of shadow and live table: one sequential scan of each, and a second look only where they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import asyncpg

from qupersync_loader.application.shadows import Comparison, LaneDifference
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.names import DELETED_AT, quote_table
from qupersync_loader.infrastructure.postgres.quarantine import columns
from qupersync_loader.infrastructure.postgres.rebuild.obstacles import filled_columns, relation
from qupersync_loader.infrastructure.postgres.rebuild.refused import excepted_keys
from qupersync_loader.infrastructure.postgres.rebuild.rows import RowStatements, TableRows
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.kernel.positions import Scalar, encode_key

_KEYS_SHOWN: Final = 8
_SLOTS_LOOKED_INTO: Final = 64

_Sums = Mapping[int, tuple[int, str]]


class RowComparison:
    """Both tables inside one snapshot of the database, for the columns of one schema."""

    def __init__(
        self, driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline, schema: RowSchema
    ) -> None:
        self._driver = driver
        self._live = live
        self._shadow = shadow
        self._schema = schema

    async def __call__(self, lanes: int) -> Comparison:
        excepted = await excepted_keys(self._driver, self._live, self._shadow, self._schema)
        arrays = columns(excepted, len(self._schema.key)) if excepted else []
        statements = await row_statements(self._driver, self._live, self._shadow, self._schema, excepts=bool(excepted))
        live = await self._sums(statements.checksums(statements.live), arrays)
        shadow = await self._sums(statements.checksums(statements.shadow), arrays)
        slots = sorted(slot for slot in live.keys() | shadow.keys() if live.get(slot) != shadow.get(slot))
        keys = await self._keys(statements, _first_of_lanes(slots, lanes), lanes, arrays) if slots else {}
        return Comparison(
            live_rows=sum(rows for rows, _ in live.values()),
            shadow_rows=sum(rows for rows, _ in shadow.values()),
            excepted_keys=len(excepted),
            differences=[
                LaneDifference(
                    lane=Lane(lane),
                    live_rows=_rows_of(live, lane, lanes),
                    shadow_rows=_rows_of(shadow, lane, lanes),
                    ranges=sum(1 for slot in slots if slot % lanes == lane),
                    keys=keys.get(lane, ()),
                )
                for lane in sorted({slot % lanes for slot in slots})
            ],
        )

    async def _sums(self, sql: str, arrays: Sequence[Sequence[str]]) -> _Sums:
        return {row["slot"]: (row["rows"], row["hash"]) for row in await self._driver.fetch(sql, *arrays)}

    async def _keys(
        self, statements: RowStatements, slots: Sequence[int], lanes: int, arrays: Sequence[Sequence[str]]
    ) -> Mapping[int, Sequence[str]]:
        found: dict[int, list[str]] = {}
        kinds = [column.type.scalar for column in self._schema.key_columns]
        for row in await self._driver.fetch(statements.differing_keys(), slots, lanes, _KEYS_SHOWN, *arrays):
            texts = [row[f"_qs_k{i}"] for i in range(len(kinds))]
            key = tuple(Scalar(kind, text) for kind, text in zip(kinds, texts, strict=True) if kind is not None)
            found.setdefault(row["lane"], []).append(encode_key(key))
        return found


async def row_statements(
    driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline, schema: RowSchema, *, excepts: bool
) -> RowStatements:
    """The statements over both tables as they are now: columns that only later events bring are in neither."""
    names = await _column_names(driver, live) & await _column_names(driver, shadow)
    filled = await filled_columns(driver, live)
    return RowStatements(
        pipeline=live,
        schema=replace(schema, columns=tuple(column for column in schema.columns if column.name in names)),
        live=await _table(driver, live),
        shadow=await _table(driver, shadow),
        excepts=excepts,
        emptied=tuple(sorted((names & filled) - {*schema.names})),
    )


async def _table(driver: asyncpg.Connection, pipeline: TargetPipeline) -> TableRows:
    oid = await relation(driver, pipeline)
    return TableRows(
        name=quote_table(pipeline.schema, pipeline.table),
        unhashed=frozenset(row["name"] for row in await driver.fetch(statement("unhashed"), oid)),
        marks=DELETED_AT in await _column_names(driver, pipeline),
    )


async def _column_names(driver: asyncpg.Connection, pipeline: TargetPipeline) -> frozenset[str]:
    oid = await relation(driver, pipeline)
    return frozenset(row["name"] for row in await driver.fetch(statement("columns"), oid))


def _rows_of(sums: _Sums, lane: int, lanes: int) -> int:
    return sum(rows for slot, (rows, _) in sums.items() if slot % lanes == lane)


def _first_of_lanes(slots: Sequence[int], lanes: int) -> list[int]:
    """Some of every lane's slots: the first few keys are wanted, not all of a table that has nothing in common."""
    found: list[int] = []
    for lane in range(lanes):
        found += [slot for slot in slots if slot % lanes == lane][:_SLOTS_LOOKED_INTO]
    return found
