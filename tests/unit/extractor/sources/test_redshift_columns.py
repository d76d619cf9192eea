"""Columns decoded at once are what the driver's own values give, for every type, NULL and nasty value."""

import struct
from array import array
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redshift_connector.core import Connection
from redshift_connector.utils import type_utils

from qupersync_extractor.application.refused import without_refusals
from qupersync_extractor.infrastructure.sources.redshift_columns import UnknownFormError, to_batch
from qupersync_extractor.infrastructure.sources.redshift_frames import RawRows
from qupersync_extractor.infrastructure.sources.redshift_values import to_batch as slowly
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import LogicalType

Encode = Callable[[Any], bytes]
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


def _numeric(scale: int, width: int) -> Encode:
    return lambda value: int(value.scaleb(scale)).to_bytes(width, "big", signed=True)


def _decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    return st.integers(-(10**digits) + 1, 10**digits - 1).map(lambda number: Decimal(f"{number}E-{scale}"))


# Logical type, driver's format and decoder, how the server writes a value, values.
FORMS: list[tuple[str, int, Any, Encode, st.SearchStrategy[Any]]] = [
    ("boolean", 1, type_utils.bool_recv, lambda v: b"\1" if v else b"\0", st.booleans()),
    ("smallint", 1, type_utils.int2_recv, struct.Struct("!h").pack, st.integers(-(1 << 15), (1 << 15) - 1)),
    ("integer", 1, type_utils.int4_recv, struct.Struct("!i").pack, st.integers(-(1 << 31), (1 << 31) - 1)),
    ("bigint", 1, type_utils.int8_recv, struct.Struct("!q").pack, INT64),
    ("bigint", 1, type_utils.oid_recv, struct.Struct("!I").pack, st.integers(0, (1 << 32) - 1)),
    ("real", 1, type_utils.float4_recv, struct.Struct("!f").pack, st.floats(width=32)),
    ("double", 1, type_utils.float8_recv, struct.Struct("!d").pack, st.floats()),
    ("numeric(18,4)", 1, type_utils.numeric_in_binary, _numeric(4, 8), _decimals(18, 4)),
    ("numeric(38,10)", 1, type_utils.numeric_in_binary, _numeric(10, 16), _decimals(38, 10)),
    ("numeric(38,37)", 0, type_utils.numeric_in, lambda v: f"{v:f}".encode(), _decimals(38, 37)),
    ("varchar", 0, type_utils.text_recv, str.encode, TEXT),
    ("varchar", 1, type_utils.text_recv, str.encode, TEXT),
    ("char", 0, type_utils.text_recv, lambda v: v.ljust(12).encode(), TEXT),
    ("super", 0, type_utils.text_recv, str.encode, st.just('{"é": [1.50, null]}')),
    ("varbyte", 0, type_utils.text_recv, lambda v: v.encode(), st.binary(max_size=20).map(bytes.hex)),
    ("date", 0, type_utils.text_recv, str.encode, st.sampled_from(["2024-02-29", "0001-01-01", "12024-01-01"])),
    (
        "timestamp",
        0,
        type_utils.text_recv,
        str.encode,
        st.sampled_from(["2024-02-29 01:02:03.000004", "0044-03-15 BC"]),
    ),
    ("time", 0, type_utils.text_recv, str.encode, st.sampled_from(["00:00:00", "23:59:59.999999"])),
    (
        "timestamptz",
        0,
        type_utils.text_recv,
        str.encode,
        st.sampled_from(["2024-02-29 01:02:03.5+00", "1999-01-01 00:00:00+00"]),
    ),
    ("timetz", 0, type_utils.text_recv, str.encode, st.sampled_from(["01:02:03+00", "23:59:59.5+05:30"])),
    ("varchar", 1, type_utils.geographyhex_recv, bytes.fromhex, st.binary(max_size=9).map(bytes.hex)),
]


class Driver:
    """As much of the driver as decodes a row."""

    def __init__(self, described: list[dict[str, Any]]) -> None:
        self.cached: list[list[Any]] = []
        self.described = [(field["func"], LogicalType.parse(field["label"]).scale) for field in described]

    def truncated_row_desc(self) -> list[Any]:
        return self.described

    @property
    def _cached_rows(self) -> list[list[Any]]:
        return self.cached


def _body(values: list[bytes | None]) -> bytes:
    fields = [struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value for value in values]
    return struct.pack("!h", len(values)) + b"".join(fields)


def received(bodies: list[bytes], *, before: bytes = b"T\0\0\0\4") -> RawRows:
    """The rows as they stand in a buffer, among other frames."""
    buffer, starts, ends = bytearray(before), array("q"), array("q")
    for body in bodies:
        buffer += b"D" + struct.pack("!i", len(body) + 4)
        starts.append(len(buffer))
        buffer += body
        ends.append(len(buffer))
    buffer += b"C\0\0\0\x0bSELECT\0Z\0\0\0\5I"
    return RawRows(buffer, starts, ends)


def _schema() -> RowSchema:
    return RowSchema(
        columns=tuple(Column(f"c{n}", LogicalType.parse(form[0])) for n, form in enumerate(FORMS)), key=("c3", "c10")
    )


DESCRIBED: list[dict[str, Any]] = [
    {"label": name, "redshift_connector_fc": code, "func": decoder} for name, code, decoder, _, _ in FORMS
]
ROW = st.tuples(*(st.none() | values for *_, values in FORMS))


@given(st.lists(ROW, max_size=6))
def test_every_type_is_what_the_driver_makes_of_it(rows: list[tuple[Any, ...]]) -> None:
    with localcontext(prec=38):  # as every reading thread has it
        bodies = [
            _body([None if value is None else encode(value) for value, (*_, encode, _) in zip(row, FORMS, strict=True)])
            for row in rows
        ]
        driver: Any = Driver(DESCRIBED)
        for body in bodies:
            Connection.handle_DATA_ROW(driver, body, driver)

    found = to_batch(received(bodies), DESCRIBED, _schema())

    expected = slowly(driver.cached, _schema())
    assert found.schema.equals(expected.schema, check_metadata=True)
    for name in found.schema.names:
        one, other = found.column(name), expected.column(name)
        if pa.types.is_floating(one.type):
            assert repr(one.to_pylist()) == repr(other.to_pylist())  # NaN is itself
        else:
            assert one.equals(other)
    found.validate(full=True)


def _one(name: str, decoder: Any, value: bytes, code: int = 1) -> tuple[RawRows, list[dict[str, Any]], RowSchema]:
    described = [
        {"label": "bigint", "redshift_connector_fc": 1, "func": type_utils.int8_recv},
        {"label": name, "redshift_connector_fc": code, "func": decoder},
    ]
    schema = RowSchema(
        columns=(Column("id", LogicalType.parse("bigint")), Column("c", LogicalType.parse(name))), key=("id",)
    )
    return received([_body([struct.pack("!q", 1), value])]), described, schema


@pytest.mark.parametrize(
    ("name", "decoder", "value", "code"),
    [
        ("integer", type_utils.int4_recv, b"\0\0\1", 1),
        ("numeric(18,4)", type_utils.numeric_in_binary, b"\0" * 9, 1),
        ("bigint", type_utils.numeric_in_binary, b"\0" * 8, 1),
        ("varbyte", type_utils.text_recv, b"0", 0),
        ("varbyte", type_utils.text_recv, b"0g", 0),
        ("varchar", type_utils.varbytehex_recv, b"00", 0),
    ],
)
def test_what_it_does_not_know_is_left_to_the_slow_way(name: str, decoder: Any, value: bytes, code: int) -> None:
    with pytest.raises(UnknownFormError):
        to_batch(*_one(name, decoder, value, code))


@pytest.mark.parametrize(
    ("name", "decoder", "value", "code"),
    [
        ("varchar", type_utils.text_recv, b"\xff\xfe", 0),
        ("numeric(4,2)", type_utils.numeric_in_binary, struct.pack("!q", 1_000_000), 1),
        ("numeric(4,2)", type_utils.numeric_in, b"NaN", 0),
        ("smallint", type_utils.int4_recv, struct.pack("!i", 70_000), 1),
    ],
)
def test_what_does_not_fit_is_refused(name: str, decoder: Any, value: bytes, code: int) -> None:
    rows, refused = without_refusals(to_batch(*_one(name, decoder, value, code)))
    assert rows.to_pylist() == [{"id": 1, "c": None}]
    assert refused is not None
    assert "'c' holds what" in refused[0].as_py()


def test_only_the_rows_that_hold_it_are_refused() -> None:
    _, described, schema = _one("varchar", type_utils.text_recv, b"", 0)
    texts = [b"a", None, b"\xff", b"b" * 40, b"", b"\xc3", "é".encode()]
    sent = received([_body([struct.pack("!q", n), text]) for n, text in enumerate(texts)])
    found, refused = without_refusals(to_batch(sent, described, schema))
    assert found.column("c").to_pylist() == ["a", None, None, "b" * 40, "", None, "é"]
    assert refused is not None
    assert [reason is not None for reason in refused.to_pylist()] == [False, False, True, False, False, True, False]


def test_rows_that_do_not_add_up_are_left_to_the_slow_way() -> None:
    rows, described, schema = _one("varchar", type_utils.text_recv, b"abc", 0)
    short = RawRows(rows.buffer, rows.starts, array("q", [rows.ends[0] - 1]))

    for broken in (short, received([_body([b"1"])]), received([_body([b"1", b"2", b"3"])])):
        with pytest.raises(UnknownFormError):
            to_batch(broken, described, schema)
