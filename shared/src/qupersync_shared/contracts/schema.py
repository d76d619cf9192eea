"""The schema of a pipeline's rows: columns with logical types, the key, and a fingerprint that changes when they do."""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qupersync_shared.contracts.types import LogicalType

if TYPE_CHECKING:
    import pyarrow as pa

SLOT_COLUMN: Final = "_qs_slot"
GONE_COLUMN: Final = "_qs_gone"
RESERVED_PREFIX: Final = "_qs_"
RESERVED_NAMES: Final = frozenset({"synced_at"})
IDENTIFIER_BYTES_MAX: Final = 63
TYPE_METADATA: Final = b"qupersync.type"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a source table or query."""

    name: str
    type: LogicalType


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSchema:
    """Columns in the source's order, and the names of the key columns in the key's order.

    ValueError when a name is doubled, empty, reserved or over PostgreSQL's 63 bytes, when a key column is absent or
    of a type that cannot be a key.
    """

    columns: tuple[Column, ...]
    key: tuple[str, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"column {doubled[0]!r} stands twice")
        for name in names:
            _check_name(name)
        for name in self.key:
            if name not in names:
                raise ValueError(f"key column {name!r} is not among the columns ({', '.join(names)})")
            if self.column(name).type.scalar is None:
                raise ValueError(f"key column {name!r} is of type {self.column(name).type.name}, which cannot be a key")
        if not self.key:
            raise ValueError("there is no key column")

    def column(self, name: str) -> Column:
        """The column with this name; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def key_columns(self) -> tuple[Column, ...]:
        return tuple(self.column(name) for name in self.key)

    @property
    def fingerprint(self) -> str:
        """`sha256:` and 32 hexadecimal digits over names, logical types and key, in order."""
        text = json.dumps(
            {"columns": [[c.name, c.type.name] for c in self.columns], "key": list(self.key)}, separators=(",", ":")
        )
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:32]

    def arrow(self) -> "pa.Schema":
        """The Arrow schema of source columns only; each field's metadata names its logical type."""
        import pyarrow as pa

        return pa.schema([arrow_field(c.name, c.type) for c in self.columns])


def arrow_field(name: str, logical: LogicalType) -> "pa.Field":
    """One column as an event carries it."""
    import pyarrow as pa

    return pa.field(name, logical.arrow, metadata={TYPE_METADATA: logical.name.encode()})


def schema_of_arrow(schema: "pa.Schema", key: tuple[str, ...]) -> RowSchema:
    """The row schema of an event's Arrow schema (its `_qs_` columns left out); ValueError for a foreign one."""
    columns = []
    for field in schema:
        if field.name.startswith(RESERVED_PREFIX):
            continue
        name = (field.metadata or {}).get(TYPE_METADATA)
        if name is None:
            raise ValueError(f"column {field.name!r} names no logical type")
        logical = LogicalType.parse(name.decode())
        if logical.arrow != field.type:
            raise ValueError(f"column {field.name!r} says {logical.name} but is Arrow {field.type}")
        columns.append(Column(field.name, logical))
    return RowSchema(columns=tuple(columns), key=key)


def _check_name(name: str) -> None:
    if not name or "\0" in name:
        raise ValueError(f"column name {name!r} is empty or holds a NUL byte")
    if len(name.encode()) > IDENTIFIER_BYTES_MAX:
        raise ValueError(f"column name {name!r} is longer than {IDENTIFIER_BYTES_MAX} bytes")
    if name.startswith(RESERVED_PREFIX) or name in RESERVED_NAMES:
        raise ValueError(f"column name {name!r} is reserved: rename it in a query (SELECT {name} AS ...)")
