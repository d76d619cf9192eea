"""What the in-memory target holds: tables, watermarks, quarantine and dead letters, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

from qupersync_loader.domain.filled import FilledColumns
from qupersync_loader.domain.watermark import Watermark
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """A row of a target table; `version` changes whenever it is rewritten, as PostgreSQL's xmin does."""

    key: Key
    values: Mapping[str, Any]
    slot: int
    sequence: int
    version: int
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A refused row; `resolution` is None while it waits."""

    key: Key
    slot: int
    reason: str
    event_id: UUID
    log: int
    sequence: int
    content: Mapping[str, Any]
    times: int = 1
    reread_for: UUID | None = None
    resolution: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A parked event; `resolution` is None while it waits."""

    event_id: UUID
    lane: int
    lanes: int
    log: int
    sequence: int
    snapshot_id: UUID | None
    reason: str
    resolution: str | None = None

    @property
    def lacks(self) -> bool:
        """Whether what it says has not been said again."""
        return self.resolution in {None, "discarded"}


@dataclass(slots=True, kw_only=True)
class Table:
    """One target table; `types` are PostgreSQL's names of its columns' types."""

    key: tuple[str, ...]
    types: dict[str, str]
    rows: dict[Key, StoredRow] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class PipelineStore:
    """All that one pipeline has in the target."""

    target: str
    made: bool = False
    filled: FilledColumns = field(default_factory=FilledColumns)
    log: int | None = None
    lanes: int | None = None
    watermarks: dict[int, Watermark] = field(default_factory=dict)
    quarantine: list[Quarantined] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)


def new_table(schema: RowSchema) -> Table:
    return Table(key=schema.key, types={column.name: column.type.postgres for column in schema.columns})


def key_order(key: Key) -> tuple[Any, ...]:
    """Sorts keys as a PostgreSQL index over canonical keys does: text by bytes, numbers by value."""
    return tuple(_order(scalar) for scalar in key)


def _order(scalar: Scalar) -> Any:
    match scalar.kind:
        case ScalarKind.INT | ScalarKind.NUMERIC:
            return Decimal(scalar.text)
        case ScalarKind.TEXT:
            return scalar.text.encode()
        case _:
            return scalar.text
