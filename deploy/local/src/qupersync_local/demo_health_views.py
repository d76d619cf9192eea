"""What the system views of the stand-in show of the health demo's world, with everything that makes them awkward.

Running queries have an end, texts are cut, characters are padded, metrics stand at four levels, sessions' numbers are
used again, and vacuums of another database have the same table numbers.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from importlib.resources import files
from typing import Any, Final

import asyncpg

from qupersync_local.demo_health_world import DATABASE, Connecting, Node, Query, Step, Table, Vacuum, World
from qupersync_local.postgres import identifier


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_TEXT_BYTES: Final = 4_000
_PIECE_BYTES: Final = 200
_LEVELS: Final = (("child query", 1), ("stream", 2), ("segment", 4), ("step", 8))  # how many rows share a part's sum
_QUERY_COLUMNS: Final = _names(
    "query_id user_id username database_name session_id query_type status start_time end_time elapsed_time queue_time "
    "compile_time execution_time returned_rows error_message query_text"
)
_TEXT_COLUMNS: Final = ("query_id", "user_id", "sequence", "text")
_DETAIL_COLUMNS: Final = _names(
    "query_id user_id child_query_sequence step_id metrics_level blocks_read spilled_block_local_disk "
    "spilled_block_remote_disk"
)
_VACUUM_COLUMNS: Final = _names(
    "user_id transaction_id query_id database_name schema_name table_name table_id vacuum_type is_automatic status "
    "start_time end_time record_time duration reclaimable_rows reclaimed_blocks"
)


class HealthViews:
    """Writes the views, as superuser of the database behind the stand-in."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def fill(self, world: World) -> None:
        """Make the tables, learn their numbers, and write all that has happened so far."""
        for table in (*world.tables, world.empty):
            await self._make_table(table)
        queries = [*world.queries, *world.too_old, *world.running]
        await self._copy("sys_query_history", _QUERY_COLUMNS, map(_query_row, queries))
        await self._texts_and_details(queries)
        await self._copy("sys_vacuum_history", _VACUUM_COLUMNS, map(_vacuum_row, [*world.vacuums, *world.elsewhere]))
        await self._copy(
            "sys_connection_log",
            ["event", "record_time", "session_id", "database_name", "application_name"],
            (row for one in world.connectings for row in _connection_rows(one)),
        )
        await self._nodes(world.nodes)

    async def write(self, step: Step, world: World) -> None:
        """Write what a step has brought; the caller's transaction holds it together."""
        for query in step.finished:
            await self._delete("sys_query_history", "query_id", query.id)
        await self._copy("sys_query_history", _QUERY_COLUMNS, map(_query_row, [*step.begun, *step.finished]))
        await self._texts_and_details(step.begun)
        for vacuum in [*step.vacuums_moved, *step.vacuums_aged]:
            await self._delete("sys_vacuum_history", "transaction_id", vacuum.transaction)
        moved = [*step.vacuums_begun, *step.vacuums_moved]
        await self._copy("sys_vacuum_history", _VACUUM_COLUMNS, map(_vacuum_row, moved))
        for query in step.aged:
            for view in ("sys_query_history", "sys_query_text", "sys_query_detail"):
                await self._delete(view, "query_id", query.id)
        if step.grown is not None:
            await self._add_rows(step.grown, step.rows_added)
            await self._facts(step.grown)
        await self._connection.executemany(
            "UPDATE pg_catalog.stv_node_storage_capacity SET used = $2 WHERE node = $1",
            [(node.id, node.used_mb) for node in world.nodes],
        )

    async def _make_table(self, table: Table) -> None:
        name = _name(table)
        await self._connection.execute(f"CREATE TABLE {name} (id bigint, at timestamp)")
        table.id = await self._connection.fetchval("SELECT CAST($1 AS regclass)::oid::bigint", name)
        await self._add_rows(table, table.visible)
        await self._facts(table)

    async def _add_rows(self, table: Table, rows: int) -> None:
        await self._connection.execute(
            f"INSERT INTO {_name(table)} SELECT n, LOCALTIMESTAMP FROM generate_series(1, $1) AS n",  # noqa: S608
            rows,
        )

    async def _facts(self, table: Table) -> None:
        await self._connection.execute(
            (files(__package__) / "demo_sql" / "health_facts.sql").read_text("utf-8"),
            table.id,
            list(table.sortkeys),
            table.diststyle,
            table.deleted,
            table.size_mb,
            table.unsorted,
            table.skew_rows,
        )

    async def _texts_and_details(self, queries: list[Query]) -> None:
        await self._copy("sys_query_text", _TEXT_COLUMNS, (row for query in queries for row in _text_rows(query)))
        await self._copy("sys_query_detail", _DETAIL_COLUMNS, (row for query in queries for row in _detail_rows(query)))

    async def _nodes(self, nodes: list[Node]) -> None:
        slices = [(node.id, node.id * node.slices + n, n, "D") for node in nodes for n in range(node.slices)]
        slices += [(node.id, 6_411, 0, "C") for node in nodes]  # compute slices belong to no node's count
        await self._copy("stv_slices", ["node", "slice", "localslice", "type"], slices)
        storage = [(node.id, node.used_mb, node.capacity_mb) for node in nodes]
        await self._copy("stv_node_storage_capacity", ["node", "used", "capacity"], storage)
        disks = [(node.id, node.id, n, f"/dev/{name}") for node in nodes for n, name in enumerate(("xvda", "nvme0n1"))]
        await self._copy("stv_partitions", ["owner", "host", "diskno", "mount"], disks)

    async def _copy(self, view: str, columns: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> None:
        await self._connection.copy_records_to_table(
            view, schema_name="pg_catalog", columns=list(columns), records=list(rows)
        )

    async def _delete(self, view: str, column: str, value: int) -> None:
        await self._connection.execute(f"DELETE FROM pg_catalog.{view} WHERE {column} = $1", value)  # noqa: S608


def _name(table: Table) -> str:
    return f"{identifier(table.schema)}.{identifier(table.name)}"


def _query_row(query: Query) -> tuple[Any, ...]:
    return (
        query.id,
        query.user_id,
        query.user_name,
        DATABASE,
        query.session,
        query.shape.kind,
        query.status,
        query.started,
        query.ended or query.started,  # a running query has an end, too: of its planning
        query.elapsed_us,
        query.queue_us,
        query.compile_us,
        query.execution_us,
        query.returned,
        query.error,
        query.text[:_TEXT_BYTES],
    )


def _text_rows(query: Query) -> Iterator[tuple[Any, ...]]:
    for sequence, begin in enumerate(range(0, len(query.text), _PIECE_BYTES)):
        yield query.id, query.user_id, sequence, query.text[begin : begin + _PIECE_BYTES]


def _detail_rows(query: Query) -> Iterator[tuple[Any, ...]]:
    for child, part in enumerate(query.parts, 1):
        for level, rows in _LEVELS:
            for step in range(rows):
                yield query.id, query.user_id, child, step, level, *(_share(number, step, rows) for number in part)


def _share(number: int, place: int, of: int) -> int:
    """What the row at this place has of a number that rows of one level add up to."""
    return number * (place + 1) // of - number * place // of


def _vacuum_row(vacuum: Vacuum) -> tuple[Any, ...]:
    lasted = (vacuum.ended or vacuum.recorded) - vacuum.started
    return (
        1 if vacuum.automatic else 100,
        vacuum.transaction,
        None if vacuum.automatic else vacuum.transaction * 10,
        vacuum.database,
        vacuum.table.schema,
        vacuum.table.name,
        vacuum.table.id,
        vacuum.kind,
        vacuum.automatic,
        vacuum.phase,
        vacuum.started,
        vacuum.ended,
        vacuum.recorded,
        lasted // timedelta(microseconds=1),
        vacuum.reclaimable_rows,
        vacuum.reclaimed_blocks,
    )


def _connection_rows(one: Connecting) -> Iterator[tuple[Any, ...]]:
    yield "initiating session", one.at, one.session, DATABASE, ""
    yield "authenticated", one.at, one.session, DATABASE, one.application or ""
