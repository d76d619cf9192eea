"""What is parked, wherever: listed page by page, counted by kinds of reasons, read again, given up."""

from dataclasses import replace
from uuid import uuid4

import pytest
from tests.conformance.parked.conftest import LETTERS, ROWS, Harness

from qupersync_extractor.application.parked import UnknownEntryError, Wanted
from qupersync_shared.contracts.parked import Chosen
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.records import BadCursorError

BROAD = "PostgreSQL refused: numeric field overflow (22003)"
LONG = "PostgreSQL refused: value too long for type character varying(8) (22001)"
LONGER = "PostgreSQL refused: value too long for type character varying(9) (22001)"
OTHERS = PipelineName("others")


async def ids(harness: Harness, **wanted: object) -> list[str]:
    """All entries, page by page."""
    found: list[str] = []
    asked: Wanted | None = Wanted(**{"kind": ROWS, "limit": 2, **wanted})  # type: ignore[arg-type]
    while asked is not None:
        page = await harness.parked.page(harness.place, asked)
        assert len(page.entries) <= asked.limit
        found += [entry.id for entry in page.entries]
        asked = replace(asked, cursor=page.next_cursor) if page.next_cursor is not None else None
    return found


async def test_a_list_has_every_entry_once_page_by_page(harness: Harness) -> None:
    parked = await harness.park(*[BROAD] * 5)
    await harness.park(BROAD, pipeline=OTHERS)

    found = await ids(harness)

    assert sorted(found) == sorted(parked)
    if harness.newest_first:
        assert found == parked[::-1]
    (full,) = [await harness.parked.page(harness.place, Wanted(kind=ROWS, limit=5))]
    assert len(full.entries) == 5
    assert full.next_cursor is None


async def test_entries_that_come_meanwhile_hide_none(harness: Harness) -> None:
    parked = await harness.park(*[BROAD] * 4)
    first = await harness.parked.page(harness.place, Wanted(kind=ROWS, limit=2))
    await harness.park(*[LONG] * 3)

    rest = await ids(harness, cursor=first.next_cursor)

    assert set(parked) <= {entry.id for entry in first.entries} | set(rest)


async def test_a_cursor_goes_on_in_its_own_list_only(harness: Harness) -> None:
    await harness.park(*[BROAD] * 3)
    cursor = (await harness.parked.page(harness.place, Wanted(kind=ROWS, limit=2))).next_cursor
    assert cursor is not None

    for foreign in (
        Wanted(kind=ROWS, cursor=cursor, settled=True),
        Wanted(kind=ROWS, cursor=cursor, reason="another"),
        Wanted(kind=ROWS, cursor=cursor[:-3] + "AAA"),
        Wanted(kind=ROWS, cursor="no cursor at all"),
    ):
        with pytest.raises(BadCursorError):
            await harness.parked.page(harness.place, foreign)
    with pytest.raises(BadCursorError):
        await harness.parked.page(replace(harness.place, pipeline=OTHERS), Wanted(kind=ROWS, cursor=cursor))


async def test_what_waits_is_counted_by_kinds_of_reasons(harness: Harness) -> None:
    await harness.park(LONG, LONGER, LONG, BROAD)
    await harness.park(BROAD, pipeline=OTHERS)

    found = await harness.parked.reasons(harness.place, ROWS)

    assert found.total == 4
    assert [(one.count, one.example) for one in found.reasons] == [(3, LONG), (1, BROAD)]
    assert found.reasons[1].reason == BROAD, "a state in brackets is the same for all"
    assert found.reasons[0].first_seen <= found.reasons[0].last_seen
    assert len(await ids(harness, reason=found.reasons[0].reason)) == 3


async def test_nothing_is_nothing(harness: Harness) -> None:
    assert await ids(harness) == []
    found = await harness.parked.reasons(harness.place, ROWS)
    assert (found.reasons, found.total) == ((), 0)
    assert (await harness.parked.redrive(harness.place, ROWS, Chosen(), by="ann", request=uuid4())).asked == 0
    assert await harness.parked.discard(harness.place, ROWS, Chosen(ids=("1", "none")), by="ann") == 0


async def test_one_entry_is_shown(harness: Harness) -> None:
    wanted, _ = await harness.park(BROAD, LONG)

    found = await harness.parked.entry(harness.place, ROWS, wanted)

    assert (found.id, found.reason, found.resolution) == (wanted, BROAD, None)
    assert found.key is not None


async def test_an_unknown_entry_is_named(harness: Harness) -> None:
    await harness.park(BROAD)

    for unknown in ("999999", "no-number", "9" * 30):
        with pytest.raises(UnknownEntryError, match=unknown):
            await harness.parked.entry(harness.place, ROWS, unknown)


async def test_an_entry_of_another_pipeline_is_none_of_this(harness: Harness) -> None:
    (other,) = await harness.park(BROAD, pipeline=OTHERS)

    with pytest.raises(UnknownEntryError):
        await harness.parked.entry(harness.place, ROWS, other)
    assert await harness.parked.discard(harness.place, ROWS, Chosen(ids=(other,)), by="ann") == 0


async def test_the_chosen_are_read_again_once_for_each_request(harness: Harness) -> None:
    one, two, _ = await harness.park(BROAD, LONG, BROAD)
    request = uuid4()

    for _ in range(2):
        redriven = await harness.parked.redrive(harness.place, ROWS, Chosen(ids=(one, two)), by="ann", request=request)
        assert redriven.asked == 2

    assert redriven.trouble is None
    assert await harness.reread() == [{one, two}]


async def test_all_of_one_kind_of_reason_are_read_again(harness: Harness) -> None:
    long, longer, _ = await harness.park(LONG, LONGER, BROAD)
    kind = (await harness.parked.reasons(harness.place, ROWS)).reasons[0].reason

    redriven = await harness.parked.redrive(harness.place, ROWS, Chosen(reason=kind), by="ann", request=uuid4())

    assert redriven.asked == 2
    assert await harness.reread() == [{long, longer}]


async def test_all_that_wait_are_given_up_and_nothing_else(harness: Harness) -> None:
    parked = await harness.park(*[BROAD] * 3)
    (other,) = await harness.park(BROAD, pipeline=OTHERS)

    assert await harness.parked.discard(harness.place, ROWS, Chosen(ids=(parked[0],)), by="ann") == 1
    assert await harness.parked.discard(harness.place, ROWS, Chosen(), by="bob") == 2
    assert await harness.parked.discard(harness.place, ROWS, Chosen(), by="cid") == 0

    assert await ids(harness) == []
    assert sorted(await ids(harness, settled=True)) == sorted(parked)
    settled = await harness.parked.entry(harness.place, ROWS, parked[0])
    assert settled.resolution == "discarded"
    assert settled.resolved_at is not None
    assert settled.resolved_by == ("ann" if harness.names_who else None)
    there = replace(harness.place, pipeline=OTHERS)
    assert (await harness.parked.entry(there, ROWS, other)).resolution is None


async def test_what_was_given_up_is_not_read_again(harness: Harness) -> None:
    given_up, waiting = await harness.park(BROAD, BROAD)
    await harness.parked.discard(harness.place, ROWS, Chosen(ids=(given_up,)), by="ann")

    everything = Chosen(ids=(given_up, waiting))
    assert (await harness.parked.redrive(harness.place, ROWS, everything, by="ann", request=uuid4())).asked == 1
    assert await harness.reread() == [{waiting}]


async def test_rows_and_letters_are_kept_apart(harness: Harness) -> None:
    await harness.park(BROAD)

    assert await ids(harness, kind=LETTERS) == []
    assert (await harness.parked.reasons(harness.place, LETTERS)).total == 0
    assert await harness.parked.discard(harness.place, LETTERS, Chosen(), by="ann") == 0
    assert len(await ids(harness)) == 1
