import pyarrow as pa
import pytest

from qupersync_shared.contracts.types import Kind, LogicalType

PLAIN = [kind for kind in Kind if kind is not Kind.NUMERIC]
EVERY = [LogicalType(kind) for kind in PLAIN] + [
    LogicalType(Kind.NUMERIC, 38, 38),
    LogicalType(Kind.NUMERIC, 18, 6),
    LogicalType(Kind.NUMERIC, 1, 0),
]


@pytest.mark.parametrize("logical", EVERY, ids=lambda logical: logical.name)
def test_a_type_is_found_again_by_its_name(logical: LogicalType) -> None:
    assert LogicalType.parse(logical.name) == logical


@pytest.mark.parametrize(
    "name",
    [
        "",
        "text",
        "numeric",
        "numeric(39,0)",
        "numeric(0,0)",
        "numeric(5,6)",
        "numeric(5)",
        "integer(4)",
        "INTEGER",
        " date",
        "date\n",
        "numeric(18, 6)",
        "numeric(18,-1)",
    ],
)
def test_a_name_that_is_no_type_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"logical type|numeric|valid Kind|precision"):
        LogicalType.parse(name)


def test_only_numeric_takes_parameters() -> None:
    with pytest.raises(ValueError, match="takes no precision"):
        LogicalType(Kind.INTEGER, 4, 0)
    with pytest.raises(ValueError, match="needs precision"):
        LogicalType(Kind.NUMERIC)


def test_what_binary_copy_cannot_carry_travels_as_text_and_is_cast() -> None:
    cast = {logical.kind for logical in EVERY if logical.needs_cast}

    assert cast == {Kind.SUPER, Kind.TIMETZ}
    assert all(LogicalType(kind).staging == "text" for kind in cast)
    assert all(LogicalType(kind).arrow == pa.string() for kind in cast)


def test_what_has_no_exact_order_can_be_neither_key_nor_cursor() -> None:
    assert {logical.kind for logical in EVERY if logical.scalar is None} == {
        Kind.REAL,
        Kind.DOUBLE,
        Kind.TIMETZ,
        Kind.SUPER,
    }


def test_a_numeric_keeps_precision_and_scale_everywhere() -> None:
    logical = LogicalType.parse("numeric(18,6)")

    assert logical.arrow == pa.decimal128(18, 6)
    assert (logical.postgres, logical.staging) == ("numeric(18,6)", "numeric(18,6)")
