"""The one place where identifiers become SQL."""

from typing import Final

from qupersync_shared.contracts.schema import IDENTIFIER_BYTES_MAX
from qupersync_shared.kernel.errors import SchemaRefusedError

SYNCED_AT: Final = "synced_at"
SEQUENCE: Final = "_qs_sequence"
SLOT: Final = "_qs_slot"
DELETED_AT: Final = "_qs_deleted_at"
GONE: Final = "_qs_gone"
ROW: Final = "_qs_row"  # in staging: the row's index in its event
PLACE: Final = "_qs_place"  # of a row or key in a list; a key column may well be named `place`


def quote(name: str) -> str:
    """The identifier in double quotes. SchemaRefusedError over 63 bytes: PostgreSQL would cut it with only a notice."""
    if not name or "\0" in name or len(name.encode()) > IDENTIFIER_BYTES_MAX:
        raise SchemaRefusedError(
            f"{name!r} cannot name a column or table of PostgreSQL",
            cure=f"1 to {IDENTIFIER_BYTES_MAX} bytes, no NUL: rename it in a query",
        )
    return '"' + name.replace('"', '""') + '"'


def quote_table(schema: str, table: str) -> str:
    return f"{quote(schema)}.{quote(table)}"


def listed(names: tuple[str, ...] | list[str], prefix: str = "") -> str:
    """Quoted names with commas between them, each behind `prefix` (an alias and a dot, or nothing)."""
    return ", ".join(prefix + quote(name) for name in names)
