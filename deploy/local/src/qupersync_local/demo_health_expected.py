"""What the target must hold of the health demo's world: worked out here, row by row, by none of the services' code."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from qupersync_local.demo_health_world import DATABASE, Node, Query, Table, Vacuum, World

_MIB: Final = 1_048_576
_INTERNAL_USER: Final = 1


def expected_rows(world: World) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, by the table's name, in the order of `health_expected.sql`'s columns."""
    queries = [*world.queries]
    vacuums = [*world.vacuums, *world.elsewhere]
    return {
        "table_stats": [_table(table, _latest(table, world.vacuums)) for table in world.tables],
        "query_history": list(_queries(queries)),
        "vacuum_history": [_vacuum(vacuum) for vacuum in vacuums],
        "node_details": [_node(node) for node in world.nodes],
    }


def _table(table: Table, vacuum: Vacuum | None) -> tuple[Any, ...]:
    rows = table.visible + table.deleted
    return (
        table.schema,
        table.name,
        table.id,
        rows,
        table.size_mb,
        table.unsorted,
        None if table.skew_rows is None else table.skew_rows * 100 - 100,
        table.diststyle,
        table.sortkeys[0] if table.sortkeys else "AUTO(SORTKEY)",
        len(table.sortkeys),
        "Y",
        Decimal(100 * table.deleted) / rows,
        None if vacuum is None else vacuum.ended,
        None if vacuum is None else vacuum.kind.upper(),
    )


def _latest(table: Table, vacuums: list[Vacuum]) -> Vacuum | None:
    """The last one that ended, also when the history has forgotten it."""
    ended = [(one.ended, one.transaction, one) for one in vacuums if one.table is table and one.ended is not None]
    return max(ended, key=lambda one: one[:2])[2] if ended else None


def _queries(queries: list[Query]) -> Iterator[tuple[Any, ...]]:
    for query in queries:
        if query.user_id == _INTERNAL_USER:
            continue
        yield (
            query.id,
            query.shape.hash,
            query.user_name,
            query.application,
            DATABASE,
            {"canceled": "cancelled"}.get(query.status, query.status),
            query.shape.kind,
            query.execution_us,
            query.queue_us,
            query.compile_us,
            query.returned,
            _MIB * sum(read for read, _, _ in query.parts),
            sum(local + remote for _, local, remote in query.parts),
            query.started,
            query.ended,
            query.error,
        )


def _vacuum(vacuum: Vacuum) -> tuple[Any, ...]:
    return (
        vacuum.table.id,
        vacuum.table.name,
        vacuum.table.schema,
        vacuum.kind.upper(),
        vacuum.phase,
        vacuum.started,
        vacuum.ended,
        vacuum.reclaimable_rows,
        vacuum.reclaimed_blocks,
        vacuum.transaction,
        vacuum.automatic,
        vacuum.recorded,
    )


def _node(node: Node) -> tuple[Any, ...]:
    # No system view says the type, and no AWS account stands behind the stand-in.
    return node.id, None, node.slices, True, node.capacity_mb, node.used_mb
