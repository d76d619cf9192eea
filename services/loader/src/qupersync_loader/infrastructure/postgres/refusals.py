"""Rows that the target refuses: found by halving under savepoints, while the rest loads."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import asyncpg

from qupersync_loader.application.content import Batch
from qupersync_shared.contracts.infinity import plain
from qupersync_shared.contracts.schema import SLOT_COLUMN
from qupersync_shared.contracts.types import Kind
from qupersync_shared.kernel.positions import Key
from qupersync_shared.runtime.database import sqlstate, translate

# Values, constraints, limits of the engine, and triggers that raise: what one row may be refused for.
_ROW_CLASSES: Final = frozenset({"22", "23", "54", "P0"})
_SAVEPOINT: Final = "SAVEPOINT qupersync_rows"
_BACK: Final = "ROLLBACK TO SAVEPOINT qupersync_rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One row of a batch, by its index, and why it cannot stand in the target."""

    index: int
    reason: str


def refuses_rows(error: BaseException) -> bool:
    """Whether some row's content is the reason."""
    if isinstance(error, ValueError) and not isinstance(error, asyncpg.InterfaceError):
        return True  # the encoder's word for a value that COPY cannot carry
    state = sqlstate(error)
    return state is not None and state[:2] in _ROW_CLASSES


def reason_of(error: BaseException) -> str:
    return str(error) if isinstance(error, ValueError) else translate(error).message


async def halve(
    driver: asyncpg.Connection, count: int, load: Callable[[int, int], Awaitable[int]]
) -> tuple[int, list[Refusal]]:
    """Loads rows 0 to `count` in ever smaller parts, `load(start, end)` each; how much it reported, and single rows it
    was refused. Any other error passes.
    """
    written = 0
    refusals: list[Refusal] = []
    parts = [(0, count)] if count else []
    while parts:
        start, end = parts.pop()
        await driver.execute(_SAVEPOINT)
        try:
            written += await load(start, end)
        except (asyncpg.PostgresError, ValueError) as error:
            if not refuses_rows(error):
                raise
            await driver.execute(_BACK)
            if end - start == 1:
                refusals.append(Refusal(index=start, reason=reason_of(error)))
            else:
                middle = (start + end) // 2
                parts += [(middle, end), (start, middle)]
        # Released either way: savepoints left behind would pile up.
        await driver.execute("RELEASE SAVEPOINT qupersync_rows")
    return written, refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A row on its way to the quarantine."""

    slot: int
    key: Key
    content: dict[str, Any]
    reason: str


def refused_row(batch: Batch, refusal: Refusal) -> RefusedRow:
    """The row with its values in a form that jsonb takes."""
    content = {}
    for column in batch.schema.columns:
        value = plain(batch.rows.column(column.name)[refusal.index])
        if column.type.kind is Kind.UUID and value is not None:
            value = UUID(bytes=value)
        content[column.name] = _plain(value)
    return RefusedRow(
        slot=batch.rows.column(SLOT_COLUMN)[refusal.index].as_py(),
        key=batch.key(refusal.index),
        content=content,
        reason=refusal.reason,
    )


def _plain(value: Any) -> Any:  # noqa: PLR0911  # one line a type
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if value - value == 0 else str(value)  # JSON has no NaN and no infinity
        case str():
            return value.replace("\0", "\N{SYMBOL FOR NULL}")
        case bytes():
            return value.hex()
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal() | UUID():
            return str(value)
        case _:
            return repr(value)
