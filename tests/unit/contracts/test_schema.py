import pyarrow as pa
import pytest

from qupersync_shared.contracts.schema import SLOT_COLUMN, Column, RowSchema, schema_of_arrow
from qupersync_shared.contracts.types import LogicalType


def schema(*columns: tuple[str, str], key: tuple[str, ...] = ("id",)) -> RowSchema:
    return RowSchema(columns=tuple(Column(name, LogicalType.parse(kind)) for name, kind in columns), key=key)


GOOD = schema(("id", "bigint"), ("name", "varchar"))


@pytest.mark.parametrize(
    ("columns", "key", "match"),
    [
        ([("id", "bigint"), ("id", "varchar")], ("id",), "stands twice"),
        ([("id", "bigint"), ("", "varchar")], ("id",), "is empty"),
        ([("id", "bigint"), ("a\0b", "varchar")], ("id",), "NUL"),
        ([("id", "bigint"), ("ä" * 32, "varchar")], ("id",), "longer than 63 bytes"),
        ([("id", "bigint"), ("_qs_slot", "smallint")], ("id",), "reserved"),
        ([("id", "bigint"), ("synced_at", "date")], ("id",), "reserved"),
        ([("id", "bigint")], ("nr",), "not among the columns"),
        ([("id", "double")], ("id",), "cannot be a key"),
        ([("id", "super")], ("id",), "cannot be a key"),
        ([("id", "bigint")], (), "no key column"),
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused(
    columns: list[tuple[str, str]], key: tuple[str, ...], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        schema(*columns, key=key)


def test_sixty_three_bytes_are_a_name() -> None:
    assert schema(("id", "bigint"), ("a" + "ä" * 31, "date")).names[1] == "a" + "ä" * 31


def test_the_fingerprint_changes_with_whatever_a_loader_must_know() -> None:
    others = [
        schema(("id", "integer"), ("name", "varchar")),
        schema(("id", "bigint"), ("nom", "varchar")),
        schema(("name", "varchar"), ("id", "bigint")),
        schema(("id", "bigint"), ("name", "varchar"), key=("id", "name")),
        schema(("id", "bigint"), ("name", "varchar"), ("x", "date")),
    ]

    fingerprints = {one.fingerprint for one in [GOOD, *others]}

    assert len(fingerprints) == 1 + len(others)
    assert GOOD.fingerprint == schema(("id", "bigint"), ("name", "varchar")).fingerprint
    assert GOOD.fingerprint.startswith("sha256:")


def test_the_schema_is_read_back_from_arrow_without_the_columns_of_our_own() -> None:
    arrow = GOOD.arrow().append(pa.field(SLOT_COLUMN, pa.int16(), nullable=False))

    assert schema_of_arrow(arrow, ("id",)) == GOOD


def test_an_arrow_schema_of_somebody_else_is_refused() -> None:
    with pytest.raises(ValueError, match="names no logical type"):
        schema_of_arrow(pa.schema([pa.field("id", pa.int64())]), ("id",))
    lying = pa.schema([pa.field("id", pa.int32(), metadata={b"qupersync.type": b"bigint"})])
    with pytest.raises(ValueError, match="says bigint but is Arrow int32"):
        schema_of_arrow(lying, ("id",))


def test_key_columns_come_in_the_order_of_the_key() -> None:
    both = schema(("a", "bigint"), ("b", "date"), key=("b", "a"))

    assert [column.name for column in both.key_columns] == ["b", "a"]
    with pytest.raises(KeyError):
        both.column("c")
