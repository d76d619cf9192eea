"""The end of what is too old to matter: runs, pages and actions at once, and who ended it is written down."""

from datetime import timedelta
from typing import Any

import pytest

from qupersync_extractor.application.actions import ActionKind
from qupersync_extractor.application.history import purge_history
from qupersync_extractor.application.runs import RunCounts
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import PipelineName, RunId, uuid7
from qupersync_shared.runtime.records import Query

from .test_ledger import Book

ORDERS = PipelineName("orders")
DAY = timedelta(days=1)


async def _purge(persistence: Any, older_than: timedelta) -> dict[str, int]:
    return await purge_history(
        runs=persistence.runs,
        ledger=persistence.ledger,
        actions=persistence.actions,
        older_than=older_than,
        by="ann",
    )


async def test_what_is_older_goes_from_all_of_the_history(persistence: Any) -> None:
    book = await Book(persistence).open()
    ended, working = RunId(uuid7()), RunId(uuid7())
    await persistence.runs.start(ended, ORDERS, mode="snapshot", cause="schedule")
    await persistence.runs.end(ended, counts=RunCounts())
    await persistence.runs.start(working, ORDERS, mode="snapshot", cause="schedule")
    await persistence.actions.record(ActionKind.PAUSE, by="bob", pipeline=ORDERS)
    await book.pages(3)
    await book.applied(2)
    await persistence.pass_time(2 * DAY.total_seconds())
    await persistence.actions.record(ActionKind.RESUME, by="bob", pipeline=ORDERS)

    assert await _purge(persistence, 3 * DAY) == {"runs": 0, "pages": 0, "actions": 0}
    assert await _purge(persistence, DAY) == {"runs": 1, "pages": 2, "actions": 1}

    assert [run.id for run in (await persistence.runs.page(Query())).items] == [working]
    assert await book.sequences() == [3]
    last, first, resumed = (await persistence.actions.page(Query())).items
    assert (last.action, last.by, last.pipeline) == (ActionKind.PURGE, "ann", None)
    assert last.details == {"older_than_seconds": 86_400, "removed": {"runs": 1, "pages": 2, "actions": 1}}
    assert (first.action, resumed.action) == (ActionKind.PURGE, ActionKind.RESUME)


async def test_no_age_is_too_great_and_none_is_negative(persistence: Any) -> None:
    assert sum((await _purge(persistence, timedelta.max)).values()) == 0
    with pytest.raises(QupersyncError, match="negative"):
        await _purge(persistence, -DAY)
