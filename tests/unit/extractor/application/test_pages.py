"""From the rows of one read to pages that fit on the wire."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupersync_extractor.application.ascending import check_ascending
from qupersync_extractor.application.pages import (
    HEADER_BYTES,
    PageDraft,
    Rows,
    boundary,
    draft_pages,
    empty_draft,
    reduce_duplicates,
    remainder,
    whole_rows,
)
from qupersync_extractor.domain.extraction import HeartbeatPage, IncrementalPage, RereadPage, SnapshotPage, SweepMark
from qupersync_extractor.domain.ordering import key_order
from qupersync_shared.contracts.payload import checksum, decode
from qupersync_shared.contracts.schema import SLOT_COLUMN, Column, RowSchema
from qupersync_shared.contracts.slots import canonical_keys, lane_of_slot, slot_of_key
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.errors import PageRefusedError
from qupersync_shared.kernel.ids import SnapshotId, uuid7
from qupersync_shared.kernel.positions import Key, Position, Scalar, ScalarKind, encode_key

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
SNAPSHOT = SnapshotId(uuid7())


def schema(key: tuple[str, ...] = ("id",), **columns: str) -> RowSchema:
    return RowSchema(columns=tuple(Column(name, LogicalType.parse(kind)) for name, kind in columns.items()), key=key)


ORDERS = schema(id="bigint", at="timestamptz", note="varchar")


def batch(columns: RowSchema, rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    arrays = [
        pa.array([row[number] for row in rows], column.type.arrow) for number, column in enumerate(columns.columns)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=columns.arrow())


def made(columns: RowSchema, rows: list[tuple[Any, ...]]) -> Rows:
    read = batch(columns, rows)
    return Rows(batch=read, canonical=canonical_keys(read, columns), schema=columns)


def order(number: int, *, seconds: int = 0, note: str | None = "x") -> tuple[Any, ...]:
    return number, NOON + timedelta(seconds=seconds), note


def ids(rows: Rows) -> list[Any]:
    return list(rows.batch.column("id").to_pylist())


def int_key(number: int) -> Key:
    return (Scalar(ScalarKind.INT, str(number)),)


# -------------------------------------------------------------------------------------------------------- whole_rows


def test_the_last_group_of_a_read_that_may_go_on_is_left_out() -> None:
    read = batch(ORDERS, [order(1), order(2), order(2), order(3), order(3)])

    cut = whole_rows(read, ORDERS, cursor=None, full=True)
    whole = whole_rows(read, ORDERS, cursor=None, full=False)

    assert cut is not None
    assert whole is not None
    assert (ids(cut), ids(whole)) == ([1, 2, 2], [1, 2, 2, 3, 3])


def test_in_a_read_by_cursor_a_group_shares_key_and_cursor_value() -> None:
    read = batch(ORDERS, [order(1, seconds=1), order(7, seconds=1), order(7, seconds=2), order(7, seconds=2)])

    cut = whole_rows(read, ORDERS, cursor="at", full=True)

    assert cut is not None
    assert ids(cut) == [1, 7]


def test_keys_that_differ_in_trailing_blanks_are_one_group() -> None:
    texts = schema(id="varchar")

    cut = whole_rows(batch(texts, [("a",), ("b",), ("b  ",)]), texts, cursor=None, full=True)

    assert cut is not None
    assert ids(cut) == ["a"]


def test_keys_that_differ_in_case_are_one_group() -> None:
    """A source that makes no difference would pass over `B` when it reads on after `b`."""
    texts = schema(id="varchar")

    cut = whole_rows(batch(texts, [("A",), ("a",), ("b",), ("B  ",)]), texts, cursor=None, full=True)
    one = whole_rows(batch(texts, [("É",), ("é",)]), texts, cursor=None, full=True)

    assert cut is not None
    assert ids(cut) == ["A", "a"]
    assert one is None


def test_a_read_of_one_group_must_be_repeated_with_more_rows() -> None:
    assert whole_rows(batch(ORDERS, [order(1)] * 3), ORDERS, cursor=None, full=True) is None


def test_an_empty_read_is_whole() -> None:
    empty = whole_rows(batch(ORDERS, []), ORDERS, cursor="at", full=True)

    assert empty is not None
    assert empty.count == 0


# -------------------------------------------------------------------------------------------------- reduce_duplicates


def test_of_duplicates_the_last_by_cursor_stays_in_its_place() -> None:
    rows = made(ORDERS, [order(1, seconds=9), order(2), order(1, seconds=10, note="new"), order(3)])

    reduced = reduce_duplicates(rows, cursor="at")

    assert (ids(reduced), reduced.duplicates) == ([2, 1, 3], 1)
    assert reduced.batch.column("note").to_pylist() == ["x", "new", "x"]
    assert reduced.canonical.equals(canonical_keys(reduced.batch, ORDERS))


def test_a_row_without_a_cursor_value_comes_before_every_other() -> None:
    rows = made(ORDERS, [(1, None, "never"), order(1, note="once")])

    assert reduce_duplicates(rows, cursor="at").batch.column("note").to_pylist() == ["once"]


def test_rows_without_duplicates_are_returned_as_they_are() -> None:
    rows = made(ORDERS, [order(1), order(2)])

    assert reduce_duplicates(rows, cursor="at") is rows


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2) | st.none(), st.sampled_from(["a", "b", None])), max_size=12
    ),
    st.randoms(use_true_random=False),
)
def test_which_duplicate_stays_does_not_depend_on_the_order_they_came_in(
    given_rows: list[tuple[int, int | None, str | None]], shuffle: random.Random
) -> None:
    rows = [
        (number, None if seconds is None else NOON + timedelta(seconds=seconds), note)
        for number, seconds, note in given_rows
    ]
    mixed = list(rows)
    shuffle.shuffle(mixed)

    kept = [
        sorted(reduce_duplicates(made(ORDERS, one), cursor="at").batch.to_pylist(), key=lambda row: row["id"])
        for one in (rows, mixed)
    ]

    assert kept[0] == kept[1]
    assert [row["id"] for row in kept[0]] == sorted({row[0] for row in rows})


# ----------------------------------------------------------------------------------------------------- check_ascending

TEXT_AND_NUMBER = schema(("name", "nr"), name="varchar", nr="integer")


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [("b", 1)],
        [("a", 1), ("a", 2), ("b", 0)],
        [("", 0), ("\x01", 0), (" x", 0), ("A", 0), ("a", 0), ("z", 0), ("ä", 0), ("日", 0), ("\U0001f600", 0)],
        [("a  ", 1), ("a", 2), ("a ", 3)],
        [("a", -2), ("a", -1), ("a", 10)],
    ],
)
def test_keys_that_ascend_in_binary_order_pass(rows: list[tuple[str, int]]) -> None:
    check_ascending(made(TEXT_AND_NUMBER, rows), after=None, upto=None)


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ([("b", 1), ("a", 1)], 0),
        ([("a", 1), ("a", 1)], 0),
        ([("a", 1), ("a ", 1)], 0),
        ([("a", 2), ("a", 1)], 0),
        ([("a", 1), ("B", 1)], 0),
        ([("A", 1), ("a", 1), ("Z", 1)], 1),
        ([("a", 1), ("a\x01", 1), ("a", 2)], 1),
        ([("z", 1), ("日", 1), ("ä", 1)], 1),
        ([("\ue000", 1), ("\U0001f600", 1), ("\ue001", 1)], 1),
    ],
)
def test_keys_that_another_collation_ordered_are_refused_with_both_named(
    rows: list[tuple[str, int]], place: int
) -> None:
    given_rows = made(TEXT_AND_NUMBER, rows)
    later, earlier = repr(rows[place + 1][0].rstrip(" ")), repr(rows[place][0].rstrip(" "))

    with pytest.raises(PageRefusedError) as refused:
        check_ascending(given_rows, after=None, upto=None)

    assert f"key ({later}, " in refused.value.message
    assert f"follows ({earlier}, " in refused.value.message
    assert refused.value.cure


def test_keys_must_lie_inside_the_pages_range() -> None:
    rows = made(schema(id="bigint"), [(5,), (9,)])

    check_ascending(rows, after=int_key(4), upto=int_key(9))
    with pytest.raises(PageRefusedError, match="was read after"):
        check_ascending(rows, after=int_key(5), upto=None)
    with pytest.raises(PageRefusedError, match="lies beyond"):
        check_ascending(rows, after=None, upto=int_key(8))


KINDS: dict[str, list[Any]] = {
    "boolean": [False, True],
    "bigint": [-10, -9, 0, 9, 10],
    "numeric(18,6)": [Decimal("-1.5"), Decimal("-1.000000"), Decimal(0), Decimal("0.000001"), Decimal(10)],
    "date": [NOON.date() - timedelta(days=700_000), NOON.date()],
    "timestamptz": [NOON, NOON + timedelta(microseconds=1)],
    "varbyte": [b"", b"\x00", b"\x7f", b"\x80"],
    "uuid": [b"\x00" * 16, b"\x7f" * 16, b"\x80" + b"\x00" * 15],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_ascends_as_its_positions_do(kind: str) -> None:
    columns = schema(id=kind)
    rows = made(columns, [(value,) for value in KINDS[kind]])
    orders = [key_order(rows.key(number)) for number in range(rows.count)]

    check_ascending(rows, after=None, upto=None)

    assert orders == sorted(orders)
    with pytest.raises(PageRefusedError):
        check_ascending(made(columns, [(value,) for value in reversed(KINDS[kind])]), after=None, upto=None)


# -------------------------------------------------------------------------------------------------------- draft_pages


def incompressible(size: int, seed: int = 1) -> str:
    return random.Random(seed).randbytes(size // 2).hex()


def drafted(draft: PageDraft) -> list[dict[str, Any]]:
    return [row for body in draft.bodies for row in decode(body.body).to_pylist()]


LIMIT = HEADER_BYTES + 8192


@given(st.sets(st.integers(-(10**12), 10**12), max_size=60), st.integers(1, 5))
def test_lanes_share_the_rows_out_exactly(numbers: set[int], lanes: int) -> None:
    rows = made(ORDERS, [order(number) for number in sorted(numbers)])

    (draft,) = draft_pages(rows, RereadPage(), lanes=lanes, event_bytes_max=1 << 20)

    assert [body.lane for body in draft.bodies] == list(range(lanes))
    assert sorted(row["id"] for row in drafted(draft)) == sorted(numbers)
    for body in draft.bodies:
        decoded = decode(body.body)
        assert (decoded.num_rows, checksum(body.body)) == (body.rows, body.checksum)
        assert decoded.column("id").to_pylist() == sorted(decoded.column("id").to_pylist())
        for row in decoded.to_pylist():
            assert row[SLOT_COLUMN] == slot_of_key(int_key(row["id"]))
            assert lane_of_slot(row[SLOT_COLUMN], lanes) == body.lane
    assert (draft.rows, draft.bytes) == (len(numbers), sum(len(body.body) for body in draft.bodies))


@given(st.lists(st.integers(0, 6000), min_size=1, max_size=14), st.integers(1, 3))
def test_pages_are_cut_until_every_event_fits_and_nothing_is_lost(sizes: list[int], lanes: int) -> None:
    rows = made(ORDERS, [order(number, note=incompressible(size, number)) for number, size in enumerate(sizes)])
    kind = SnapshotPage(snapshot_id=SNAPSHOT, after=int_key(-1), upto=None)

    drafts = draft_pages(rows, kind, lanes=lanes, event_bytes_max=LIMIT)

    assert all(len(body.body) + HEADER_BYTES <= LIMIT for draft in drafts for body in draft.bodies)
    assert sorted(row["id"] for draft in drafts for row in drafted(draft)) == list(range(len(sizes)))
    edges = [(draft.kind.after, draft.kind.upto) for draft in drafts if isinstance(draft.kind, SnapshotPage)]
    assert len(edges) == len(drafts)
    assert (edges[0][0], edges[-1][1]) == (int_key(-1), None)
    assert [upto for _, upto in edges[:-1]] == [after for after, _ in edges[1:]]
    for draft, (after, upto) in zip(drafts, edges, strict=True):
        for row in drafted(draft):
            key = key_order(int_key(row["id"]))
            assert after is not None
            assert key > key_order(after)
            assert upto is None or key <= key_order(upto)


def test_a_page_read_by_cursor_is_cut_at_positions_and_only_its_end_completes() -> None:
    rows = made(ORDERS, [order(number, seconds=number, note=incompressible(5000, number)) for number in range(6)])
    high = Scalar(ScalarKind.TIMESTAMPTZ, "2025-06-01 12:59:00.000000Z")
    mark = SweepMark(high=high, began_at=NOON)
    after: Position = Position.before(high)
    kind = IncrementalPage(upto=Position.after(high), after=after, cursor="at", sweep=mark, completes_at=NOON)

    *first, last = draft_pages(rows, kind, lanes=1, event_bytes_max=LIMIT)

    assert first
    for draft in first:
        end = drafted(draft)[-1]
        stamp = f"{end['at']:%Y-%m-%d %H:%M:%S.%f}Z"
        assert draft.kind == IncrementalPage(
            upto=Position(cursor=Scalar(ScalarKind.TIMESTAMPTZ, stamp), key=int_key(end["id"])),
            after=after,
            cursor="at",
        )
        after = draft.kind.upto
    assert last.kind == replace(kind, after=after), "each page begins where the one before it ends"


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_single_row_over_the_limit_is_withheld_with_its_key_named_in_its_lane(lanes: int) -> None:
    rows = made(ORDERS, [order(1), order(2, note=incompressible(50_000)), order(3)])
    kind = SnapshotPage(snapshot_id=SNAPSHOT, after=None, upto=None)

    drafts = draft_pages(rows, kind, lanes=lanes, event_bytes_max=LIMIT)

    withheld = [(body.lane, key) for draft in drafts for body in draft.bodies for key in body.withheld]
    assert withheld == [(lane_of_slot(slot_of_key(int_key(2)), lanes), int_key(2))]
    assert sorted(row["id"] for draft in drafts for row in drafted(draft)) == [1, 3]
    assert all(len(draft.bodies) == lanes for draft in drafts)
    assert isinstance(drafts[0].kind, SnapshotPage)
    assert isinstance(drafts[-1].kind, SnapshotPage)
    assert (drafts[0].kind.after, drafts[-1].kind.upto) == (None, None)


@pytest.mark.parametrize("lanes", [1, 4])
def test_an_empty_page_still_speaks_to_every_lane(lanes: int) -> None:
    empty = empty_draft(ORDERS, HeartbeatPage(), lanes=lanes)
    (drafted_empty,) = draft_pages(made(ORDERS, []), HeartbeatPage(), lanes=lanes, event_bytes_max=LIMIT)

    assert [(body.lane, body.rows) for body in empty.bodies] == [(lane, 0) for lane in range(lanes)]
    assert empty == drafted_empty
    assert decode(empty.bodies[0].body).schema.names == [*ORDERS.names, SLOT_COLUMN]


def test_a_page_without_a_cursor_column_cannot_be_cut_by_cursor() -> None:
    rows = made(ORDERS, [order(1), (2, None, "x")])
    kind = IncrementalPage(upto=Position.after(Scalar(ScalarKind.TIMESTAMPTZ, "2025-06-01 12:59:00.000000Z")))

    with pytest.raises(ValueError, match="names its cursor column"):
        boundary(rows, kind, 0)
    with pytest.raises(PageRefusedError, match="at is NULL"):
        boundary(rows, replace(kind, cursor="at"), 1)
    assert boundary(rows, RereadPage(), 0) == remainder(rows, RereadPage(), 0) == RereadPage()


@pytest.mark.parametrize("after", [1, 5000])
def test_long_keys_at_a_pages_ends_count_as_headers(after: int) -> None:
    """An event must fit with all that its headers hold, or the relay could never publish it."""
    texts = schema(id="varchar", note="varchar")
    rows = made(texts, [("b" + "\u00e4" * 200 + str(number), incompressible(900, number)) for number in range(8)])
    kind = SnapshotPage(snapshot_id=SNAPSHOT, after=(Scalar(ScalarKind.TEXT, "a" * after),), upto=None)

    drafts = draft_pages(rows, kind, lanes=1, event_bytes_max=LIMIT + 4000)

    for draft in drafts:
        assert isinstance(draft.kind, SnapshotPage)
        ends = [encode_key(end) for end in (draft.kind.after, draft.kind.upto) if end is not None]
        assert len(draft.bodies[0].body) + sum(map(len, ends)) + HEADER_BYTES <= LIMIT + 4000
    assert sum(draft.rows for draft in drafts) == rows.count


def test_a_schema_that_fits_into_no_event_is_refused() -> None:
    names = ("id", *(f"a_rather_long_column_name_{number}" for number in range(500)))
    wide = RowSchema(columns=tuple(Column(name, LogicalType.parse("bigint")) for name in names), key=("id",))
    rows = made(wide, [(1, *[None] * 500)])

    with pytest.raises(PageRefusedError, match="without a single row"):
        draft_pages(rows, RereadPage(), lanes=1, event_bytes_max=LIMIT)
