"""What people did: recorded with what it did, listed latest first, forgotten with age."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from qupersync_extractor.application.actions import Action, ActionKind
from qupersync_extractor.application.control import NeverRunError, note_configured
from qupersync_extractor.application.operations import Operations
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.records import Query, StaleVersionError, UnknownFieldError

ORDERS, COSTS = PipelineName("orders"), PipelineName("costs")


@pytest.fixture
async def operations(persistence: Any) -> Operations:
    for name in (ORDERS, COSTS):
        await persistence.registry.register(name, 2)
    await note_configured(persistence.controls, frozenset([ORDERS, COSTS]), by="configuration")
    return Operations(
        controls=persistence.controls,
        registry=persistence.registry,
        outbox=persistence.outbox,
        actions=persistence.actions,
        runs=persistence.runs,
        ledger=persistence.ledger,
    )


async def _all(persistence: Any, **filters: Any) -> tuple[Action, ...]:
    items: tuple[Action, ...] = (await persistence.actions.page(Query(filters=filters))).items
    return items


async def test_a_deed_is_kept_with_who_when_and_why(persistence: Any) -> None:
    await persistence.actions.record(
        ActionKind.DISCARD, by="ann\0", pipeline=ORDERS, reason="no\0 use", details={"rows": 3, "keys": ["a"]}
    )
    await persistence.actions.record(ActionKind.PURGE, by="bob")
    purge, discard = await _all(persistence)
    assert (purge.action, purge.by, purge.pipeline, purge.reason, purge.details) == (
        ActionKind.PURGE,
        "bob",
        None,
        None,
        {},
    )
    assert (discard.action, discard.pipeline, discard.details) == (
        ActionKind.DISCARD,
        ORDERS,
        {"rows": 3, "keys": ["a"]},
    )
    assert discard.by.startswith("ann")
    assert discard.reason is not None
    assert discard.reason.endswith(" use")
    assert purge.at >= discard.at


async def test_deeds_are_filtered_and_paged_by_what_is_allowed(persistence: Any) -> None:
    for number in range(5):
        await persistence.actions.record(
            ActionKind.PAUSE if number % 2 else ActionKind.RESUME,
            by="ann" if number < 3 else "bob",
            pipeline=COSTS if number == 4 else ORDERS,
            details={"number": number},
        )

    async def numbers(**filters: Any) -> list[int]:
        return [done.details["number"] for done in await _all(persistence, **filters)]

    assert await numbers() == [4, 3, 2, 1, 0]
    assert await numbers(pipeline="costs") == [4]
    assert await numbers(action="pause") == [3, 1]
    assert await numbers(by="bob") == [4, 3]
    moment = (await _all(persistence))[2].at
    assert await numbers(since=moment) == [4, 3, 2]
    assert await numbers(before=moment.isoformat()) == [1, 0]
    seen: list[int] = []
    query = Query(limit=2)
    while True:
        page = await persistence.actions.page(query)
        seen += [done.details["number"] for done in page.items]
        if page.next_cursor is None:
            break
        query = replace(query, cursor=page.next_cursor)
    assert seen == [4, 3, 2, 1, 0]
    for wrong in (Query(filters={"reason": "x"}), Query(sort="by"), Query(filters={"action": "dance"})):
        with pytest.raises(UnknownFieldError):
            await persistence.actions.page(wrong)


async def test_old_deeds_are_forgotten(persistence: Any) -> None:
    await persistence.actions.record(ActionKind.PAUSE, by="ann", pipeline=ORDERS)
    await persistence.pass_time(7200)
    await persistence.actions.record(ActionKind.RESUME, by="ann", pipeline=ORDERS)
    assert await persistence.actions.forget(older_than=timedelta(hours=1)) == 1
    assert [done.action for done in await _all(persistence)] == [ActionKind.RESUME]


async def test_every_operation_leaves_its_deed(persistence: Any, operations: Operations) -> None:
    await operations.trigger([COSTS, ORDERS], None, by="ann")
    await operations.trigger([ORDERS], ForcedMode.SNAPSHOT, by="ann")
    await operations.pause(ORDERS, by="bob", reason="a  long\nnight")
    await operations.resume(ORDERS, by="bob")
    log = await operations.reset(ORDERS, lanes=3, by="eve", reason="three lanes")
    assert await operations.retire(COSTS, by="eve") == 0
    assert [
        (done.action.value, done.pipeline, done.by, done.reason, done.details)
        for done in reversed(await _all(persistence))
    ] == [
        ("trigger", COSTS, "ann", None, {"mode": None}),
        ("trigger", ORDERS, "ann", None, {"mode": None}),
        ("trigger", ORDERS, "ann", None, {"mode": "snapshot"}),
        ("pause", ORDERS, "bob", "a long night", {}),
        ("resume", ORDERS, "bob", None, {}),
        ("reset", ORDERS, "eve", "three lanes", {"lanes": 3}),
        ("retire", COSTS, "eve", None, {"records": 0}),
    ]
    known = await persistence.registry.get(ORDERS)
    assert (known.state.lanes, known.state.log) == (3, log)


async def test_a_reset_pipeline_is_run_at_once(persistence: Any, operations: Operations) -> None:
    assert await persistence.registry.run_request(ORDERS) is None
    await operations.reset(ORDERS, lanes=2, by="eve")
    assert (await persistence.registry.asked_for())[ORDERS].run
    assert await persistence.registry.run_request(COSTS) is None


async def test_what_was_refused_leaves_no_deed(persistence: Any, operations: Operations) -> None:
    with pytest.raises(NeverRunError, match="nobody has never run"):
        await operations.trigger([ORDERS, PipelineName("nobody")], None, by="ann")
    with pytest.raises(QupersyncError, match="never run"):
        await operations.pause(PipelineName("nobody"), by="ann")
    version = (await operations.pause(ORDERS, by="bob")).version
    for refused in (
        operations.pause(ORDERS, by="ann", reason="r", version=version - 1),
        operations.resume(ORDERS, by="ann", version=version - 1),
        operations.reset(ORDERS, lanes=2, by="ann", version=version - 1),
    ):
        with pytest.raises(StaleVersionError):
            await refused
    with pytest.raises(QupersyncError, match="no pipeline"):
        await operations.retire(PipelineName("nobody"), by="ann")
    assert [(done.action, done.by) for done in await _all(persistence)] == [(ActionKind.PAUSE, "bob")]


async def test_a_decision_that_is_not_kept_leaves_no_deed(persistence: Any, operations: Operations) -> None:
    async with operations.controls() as work:
        control = await work.controls.get(ORDERS)
        assert control is not None
        control.pause(by="ann", at=await work.controls.now())
        await work.record(ActionKind.PAUSE, ORDERS, by="ann")
    assert await _all(persistence) == ()
