"""The events whose bytes are frozen: every mode of a page, and every logical type, with fixed ids and times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa

from qupersync_shared.contracts.envelope import EVENT_VERSION, BatchEnvelope, Mode
from qupersync_shared.contracts.payload import checksum, encode
from qupersync_shared.contracts.schema import GONE_COLUMN, SLOT_COLUMN, Column, RowSchema
from qupersync_shared.contracts.slots import canonical_keys, slots_of
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.positions import Key, Position, Scalar, ScalarKind

GOLDEN: Final = Path(__file__).parent / "golden" / f"v{EVENT_VERSION}"
_AT: Final = datetime(2025, 3, 30, 1, 2, 3, 456789, tzinfo=UTC)
_SNAPSHOT: Final = UUID("01958a3c-0000-7000-8000-0000000000aa")


@dataclass(frozen=True, slots=True)
class Case:
    """One event: its envelope and the body it names by checksum."""

    name: str
    envelope: BatchEnvelope
    body: bytes


ORDERS: Final = RowSchema(
    columns=tuple(
        Column(name, LogicalType.parse(kind))
        for name, kind in (
            ("id", "bigint"),
            ("Straße, 'q\"", "varchar"),
            ("amount", "numeric(18,6)"),
            ("updated_at", "timestamptz"),
        )
    ),
    key=("id",),
)

TYPES: Final = RowSchema(
    columns=tuple(
        Column(f"c_{kind.partition('(')[0]}", LogicalType.parse(kind))
        for kind in (
            "smallint",
            "integer",
            "bigint",
            "real",
            "double",
            "numeric(38,10)",
            "boolean",
            "char",
            "varchar",
            "date",
            "timestamp",
            "timestamptz",
            "time",
            "timetz",
            "super",
            "varbyte",
            "uuid",
        )
    ),
    key=("c_varchar", "c_numeric"),
)


def key(number: int) -> Key:
    return (Scalar(ScalarKind.INT, str(number)),)


def batch(
    schema: RowSchema, rows: Sequence[Mapping[str, Any]], *, gone: Sequence[bool] | None = None
) -> pa.RecordBatch:
    """The rows as they travel: source columns, then the slot, then (in a reread) whether the key is gone."""
    columns = [pa.array([row[name] for row in rows], schema.column(name).type.arrow) for name in schema.names]
    made = pa.RecordBatch.from_arrays(columns, schema=schema.arrow())
    slots = slots_of(canonical_keys(made, schema)) if rows else np.empty(0, np.int16)
    made = made.append_column(pa.field(SLOT_COLUMN, pa.int16(), nullable=False), pa.array(slots, pa.int16()))
    if gone is not None:
        made = made.append_column(pa.field(GONE_COLUMN, pa.bool_(), nullable=False), pa.array(gone, pa.bool_()))
    return made


def cases() -> tuple[Case, ...]:
    return (
        _case("incremental", ORDERS, _orders(), mode=Mode.INCREMENTAL, position=_position(), honest_time=_AT),
        _snapshot("snapshot_first", _orders(), snapshot_first=True, range_to=key(42)),
        _snapshot("snapshot_middle", _orders(), range_from=key(42), range_to=key(99), previous_id=_id(7)),
        _snapshot("snapshot_last", _orders(), snapshot_last=True, range_from=key(99), previous_id=_id(7)),
        _case("reread", ORDERS, _orders(), gone=[False, True], mode=Mode.REREAD, causation_id=_id(8)),
        _case(
            "reread_range",
            ORDERS,
            _orders(),
            mode=Mode.REREAD,
            range_complete=True,
            range_from=key(42),
            range_to=key(99),
            redrives=(_id(2), _id(3)),
        ),
        _case("incremental_after", ORDERS, _orders(), mode=Mode.INCREMENTAL, after=_before(), position=_position()),
        _case("empty", ORDERS, [], mode=Mode.INCREMENTAL, previous_id=_id(7), traceparent=None),
        _case(
            "withheld",
            ORDERS,
            [],
            mode=Mode.INCREMENTAL,
            position=Position.after(Scalar(ScalarKind.TIMESTAMPTZ, "2025-03-30 01:00:00.000000Z")),
            withheld_keys=(key(-7), key(8)),
        ),
        _case("types", TYPES, _every_type(), mode=Mode.INCREMENTAL),
    )


def _snapshot(name: str, rows: Sequence[Mapping[str, Any]], **fields: Any) -> Case:
    return _case(name, ORDERS, rows, mode=Mode.SNAPSHOT, snapshot_id=_SNAPSHOT, **fields)


def _case(
    name: str,
    schema: RowSchema,
    rows: Sequence[Mapping[str, Any]],
    *,
    gone: Sequence[bool] | None = None,
    **fields: Any,
) -> Case:
    body = encode(batch(schema, rows, gone=gone))
    given: dict[str, Any] = {
        "id": _id(9),
        "source": "qupersync/extractor/orders",
        "subject": "qupersync.lane.orders.0",
        "time": _AT,
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "pipeline": "orders",
        "lane": 0,
        "lanes": 1,
        "log": 3,
        "sequence": 17,
        "generation": 2,
        "row_count": len(rows),
        "key_columns": schema.key,
        "schema_fingerprint": schema.fingerprint,
        "checksum": checksum(body),
        "correlation_id": _id(1),
    }
    return Case(name, BatchEnvelope(**(given | fields)), body)


def _id(number: int) -> UUID:
    return UUID(f"01958a3c-0000-7000-8000-{number:012x}")


def _position() -> Position:
    return Position(cursor=Scalar(ScalarKind.TIMESTAMPTZ, "2025-03-30 01:00:00.000001Z"), key=key(43))


def _before() -> Position:
    return Position.after(Scalar(ScalarKind.TIMESTAMPTZ, "2025-03-30 00:59:59.000000Z"))


def _orders() -> list[dict[str, Any]]:
    name = ORDERS.names[1]
    return [
        {"id": 43, name: "日本 \N{GRINNING FACE}", "amount": Decimal("-1234567.500000"), "updated_at": _AT},
        {"id": 44, name: None, "amount": None, "updated_at": _AT},
    ]


def _every_type() -> list[dict[str, Any]]:
    full = {
        "c_smallint": -32768,
        "c_integer": 2147483647,
        "c_bigint": -(2**63),
        "c_real": 0.5,
        "c_double": float("inf"),
        "c_numeric": Decimal("9999999999999999999999999999.9999999999"),
        "c_boolean": True,
        "c_char": "ab",
        "c_varchar": "key  ",
        "c_date": date(1, 1, 1),
        "c_timestamp": datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001  # without zone, as the column is
        "c_timestamptz": _AT,
        "c_time": time(23, 59, 59, 999999),
        "c_timetz": "12:00:00+02:30",
        "c_super": '{"a": [1, null]}',
        "c_varbyte": b"\x00\xff",
        "c_uuid": UUID("00112233-4455-6677-8899-aabbccddeeff").bytes,
    }
    nothing = dict.fromkeys(full) | {"c_varchar": "", "c_numeric": Decimal("0E-10")}
    return [full, nothing]
