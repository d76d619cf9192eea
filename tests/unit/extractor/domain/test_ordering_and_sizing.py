from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupersync_extractor.domain.ordering import key_order, scalar_order
from qupersync_extractor.domain.sizing import FIRST_ROWS, PageSizer
from qupersync_shared.kernel.positions import Scalar, ScalarKind

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


@pytest.mark.parametrize(
    ("kind", "ascending"),
    [
        (ScalarKind.INT, ["-10", "-9", "0", "9", "10", "100"]),
        (ScalarKind.NUMERIC, ["-1.5", "-1", "0", "0.000001", "9", "10", "99999999999999999999999999999999999999"]),
        (ScalarKind.BOOLEAN, ["false", "true"]),
        (ScalarKind.DATE, ["0001-01-01", "2025-09-30", "2025-10-01", "9999-12-31"]),
        (ScalarKind.TIMESTAMP, ["2025-01-01 00:00:00.000000", "2025-01-01 00:00:00.000001"]),
        (ScalarKind.TIMESTAMPTZ, ["0987-01-01 00:00:00.000000Z", "2025-01-01 00:00:00.000000Z"]),
        (ScalarKind.TIME, ["00:00:00.000000", "23:59:59.999999"]),
        (ScalarKind.TEXT, ["", "\x01", " x", "A", "B", "a", "z", "ä", "日", "\U0001f600"]),
        (ScalarKind.BYTES, ["", "00", "00ff", "01", "ff"]),
        (ScalarKind.UUID, ["00" * 16, "7f" + "ff" * 15, "80" + "00" * 15]),
    ],
)
def test_scalars_ascend_as_the_target_compares_them(kind: ScalarKind, ascending: list[str]) -> None:
    orders = [scalar_order(Scalar(kind, text)) for text in ascending]

    assert orders == sorted(orders)
    assert len(set(orders)) == len(orders)


@given(TEXTS, TEXTS)
def test_texts_compare_as_their_utf8_bytes(one: str, other: str) -> None:
    orders = [scalar_order(Scalar(ScalarKind.TEXT, text)) for text in (one, other)]

    assert (orders[0] < orders[1]) == (one.encode() < other.encode())


@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_numerics_compare_as_numbers_however_many_digits(one: Decimal, other: Decimal) -> None:
    orders = [scalar_order(Scalar(ScalarKind.NUMERIC, format(value, "f"))) for value in (one, other)]

    assert (orders[0] < orders[1]) == (one < other)


def test_keys_compare_column_by_column() -> None:
    def key(number: int, text: str) -> tuple[Scalar, ...]:
        return (Scalar(ScalarKind.INT, str(number)), Scalar(ScalarKind.TEXT, text))

    ascending = [key(2, "b"), key(10, "a"), key(10, "b")]

    assert sorted(ascending, key=key_order) == ascending


# ------------------------------------------------------------------------------------------------------------ sizing

SIZER = PageSizer(rows_max=40_000, page_bytes_max=1_000_000, event_bytes_max=100_000)


def test_the_first_page_is_careful() -> None:
    assert SIZER.rows == FIRST_ROWS
    assert PageSizer(rows_max=10, page_bytes_max=1, event_bytes_max=1).rows == 10


def test_narrow_rows_are_read_up_to_the_row_limit() -> None:
    assert SIZER.learn(rows=5000, page_bytes=5000, largest_event=500).rows == 40_000


@given(st.integers(1, 10**6), st.integers(0, 10**9), st.integers(0, 10**8))
def test_pages_stay_under_every_limit_and_never_stop(rows: int, page_bytes: int, largest_event: int) -> None:
    learned = SIZER.learn(rows=rows, page_bytes=page_bytes, largest_event=largest_event)

    assert 1 <= learned.rows <= SIZER.rows_max
    if learned.rows > 1:
        assert learned.rows * page_bytes / rows <= SIZER.page_bytes_max * 1.001
        assert learned.rows * largest_event / rows <= SIZER.event_bytes_max * 1.001


def test_an_empty_page_teaches_nothing() -> None:
    assert SIZER.learn(rows=0, page_bytes=0, largest_event=300) == SIZER
