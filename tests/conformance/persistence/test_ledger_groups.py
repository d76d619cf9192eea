"""The ledger where loader groups come and go: history is not rewritten, and nothing is claimed that is not there."""

from typing import Any

import pytest

from .conftest import LANES, PIPELINE
from .ledger_book import MAIN, REPORTS, Book


@pytest.fixture
async def book(persistence: Any) -> Book:
    return await Book(persistence).open()


async def test_a_group_that_comes_later_lacks_nothing_of_logs_that_were_over(persistence: Any, book: Book) -> None:
    await book.pages(3)
    await book.applied(2)
    await persistence.registry.reset(PIPELINE, lanes=LANES, reason="an operator reset the pipeline")
    await book.page()
    await book.applied(1, log=2)
    await book.applied(1, log=2, group=REPORTS)
    assert [(entry.log, entry.sequence, entry.waits_for) for entry in await book.entries(state="applied")] == [
        (2, 1, ()),
        (1, 2, ()),
        (1, 1, ()),
    ]
    assert [(entry.log, entry.sequence) for entry in await book.entries(state="superseded")] == [(1, 3)]
    await book.page()
    await book.applied(2, log=2)
    (waiting,) = await book.entries(state="extracted")
    assert (waiting.log, waiting.sequence, waiting.waits_for) == (2, 2, (REPORTS,))


async def test_a_group_that_is_removed_and_comes_again_has_only_what_it_has_now(persistence: Any, book: Book) -> None:
    await book.pages(4)
    for group in (MAIN, REPORTS):
        await book.applied(1, group=group)
        await book.applied(4, group=group)
    await persistence.marks.forget_group((PIPELINE, REPORTS))
    assert await book.sequences(state="applied") == [4, 3, 2, 1]
    await book.applied(1, group=REPORTS)
    assert await book.sequences(state="applied") == [1]
    assert (await book.standing()).waiting.sequence == 2
