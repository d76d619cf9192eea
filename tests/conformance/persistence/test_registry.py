"""Pipelines, leases, troubles and requests."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from qupersync_extractor.application.ports import Asked, RunRequest
from qupersync_extractor.domain.extraction import Snapshot, SnapshotWish
from qupersync_extractor.domain.rereads import Reread, WantedKeys
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.ids import FencingToken, Log, PipelineName, SnapshotId, uuid7
from qupersync_shared.runtime.records import Query

PIPELINE = PipelineName("orders")
UNKNOWN = PipelineName("unknown")


async def test_registering_twice_at_once_makes_one_row(persistence: Any) -> None:
    made = await asyncio.gather(*(persistence.registry.register(PIPELINE, lanes) for lanes in (2, 3, 4, 5)))
    assert len({registration.lanes for registration in made}) == 1
    again = await persistence.registry.register(PIPELINE, 99)
    assert again == made[0]
    assert again.state.lanes == again.lanes
    assert again.state.snapshot_wish is not None
    assert (again.owner, again.trouble, again.state.sequence, again.state.log) == (None, None, 0, 1)


async def test_an_unknown_pipeline(persistence: Any) -> None:
    registry = persistence.registry
    assert await registry.get(UNKNOWN) is None
    assert await registry.acquire(UNKNOWN, "a", 60) is None
    assert not await registry.renew(UNKNOWN, FencingToken(1), 60)
    assert await registry.run_request(UNKNOWN) is None
    await registry.run_made(UNKNOWN, RunRequest(mode=None, ticket=0))
    assert not await registry.wish_snapshot(UNKNOWN, reason="r", restart=False)
    assert await registry.forked_log(UNKNOWN) is None
    await registry.release(UNKNOWN, FencingToken(1))
    await registry.set_trouble(UNKNOWN, "r")
    await registry.request_run(UNKNOWN, None)
    await registry.report_fork(UNKNOWN, Log(1))
    with pytest.raises(TerminalError):
        await registry.reset(UNKNOWN, lanes=1, reason="r")
    assert await registry.get(UNKNOWN) is None


async def test_a_lease_belongs_to_one_and_tokens_ascend(persistence: Any) -> None:
    registry = persistence.registry
    await registry.register(PIPELINE, 1)
    first = await registry.acquire(PIPELINE, "a", 60)
    assert (await registry.get(PIPELINE)).owner == "a"
    assert await registry.acquire(PIPELINE, "b", 60) is None
    again = await registry.acquire(PIPELINE, "a", 60)
    assert again > first
    assert not await registry.renew(PIPELINE, first, 60)
    assert await registry.renew(PIPELINE, again, 60)


async def test_of_many_at_once_one_gets_the_lease(persistence: Any) -> None:
    await persistence.registry.register(PIPELINE, 1)
    tokens = await asyncio.gather(*(persistence.registry.acquire(PIPELINE, f"owner-{n}", 60) for n in range(8)))
    assert len([token for token in tokens if token is not None]) == 1


async def test_an_expired_lease_is_free_and_a_renewed_one_is_not(persistence: Any) -> None:
    registry = persistence.registry
    await registry.register(PIPELINE, 1)
    old = await registry.acquire(PIPELINE, "a", 30)
    await persistence.pass_time(20)
    assert await registry.renew(PIPELINE, old, 30)
    await persistence.pass_time(20)
    assert await registry.acquire(PIPELINE, "b", 30) is None
    await persistence.pass_time(20)
    assert await registry.renew(PIPELINE, old, 1)  # nobody took it
    await persistence.pass_time(20)
    new = await registry.acquire(PIPELINE, "b", 30)
    assert new > old
    assert not await registry.renew(PIPELINE, old, 30)
    await registry.release(PIPELINE, old)  # somebody else's by now
    assert (await registry.get(PIPELINE)).owner == "b"


async def test_a_clock_that_was_put_back_keeps_nobody_from_what_a_dead_process_held(persistence: Any) -> None:
    registry = persistence.registry
    await registry.register(PIPELINE, 1)
    assert await registry.acquire(PIPELINE, "dead", 30) is not None
    await persistence.pass_time(-24 * 3600)
    assert await registry.acquire(PIPELINE, "b", 30) is not None
    assert await registry.acquire(PIPELINE, "c", 30) is None


async def test_a_released_lease_is_free_and_its_token_void(persistence: Any) -> None:
    registry = persistence.registry
    await registry.register(PIPELINE, 1)
    token = await registry.acquire(PIPELINE, "a", 60)
    await registry.release(PIPELINE, token)
    assert (await registry.get(PIPELINE)).owner is None
    assert not await registry.renew(PIPELINE, token, 60)
    assert await registry.acquire(PIPELINE, "b", 60) > token


async def test_trouble_is_shown_until_it_is_taken_back(persistence: Any) -> None:
    registry = persistence.registry
    await registry.register(PIPELINE, 1)
    for reason in ("source: connection refused", "source: NUL \0 inside", None, None):
        await registry.set_trouble(PIPELINE, reason)
        shown = (await registry.get(PIPELINE)).trouble
        assert (shown is None) == (reason is None)
        assert shown is None or shown[:8] == reason[:8]  # type: ignore[index]


async def test_a_request_stays_until_its_run_was_made(persistence: Any) -> None:
    registry = persistence.registry
    await registry.register(PIPELINE, 1)
    assert await registry.run_request(PIPELINE) is None
    await registry.request_run(PIPELINE, "incremental")
    request = await registry.run_request(PIPELINE)
    assert request.mode == "incremental"
    assert await registry.run_request(PIPELINE) == request, "looking at it takes nothing away"
    await registry.run_made(PIPELINE, request)
    assert await registry.run_request(PIPELINE) is None


async def test_what_is_asked_while_a_run_works_is_not_forgotten_with_it(persistence: Any) -> None:
    registry = persistence.registry
    await registry.register(PIPELINE, 1)
    await registry.request_run(PIPELINE, None)
    request = await registry.run_request(PIPELINE)
    await registry.request_run(PIPELINE, None)
    await registry.run_made(PIPELINE, request)
    later = await registry.run_request(PIPELINE)
    assert later is not None
    await registry.run_made(PIPELINE, later)
    assert await registry.run_request(PIPELINE) is None


async def test_a_weaker_request_does_not_take_back_a_snapshot(persistence: Any) -> None:
    registry = persistence.registry
    await registry.register(PIPELINE, 1)
    for mode in ("incremental", None, "snapshot", "incremental", None):
        await registry.request_run(PIPELINE, mode)
    request = await registry.run_request(PIPELINE)
    assert request.mode == "snapshot"
    await registry.run_made(PIPELINE, request)
    await registry.request_run(PIPELINE, None)
    assert (await registry.run_request(PIPELINE)).mode is None


async def test_one_look_tells_what_is_asked_of_every_pipeline(persistence: Any) -> None:
    registry, others = persistence.registry, PipelineName("others")
    for name in (PIPELINE, others, PipelineName("idle")):
        await registry.register(name, 1)
    assert await registry.asked_for() == {}
    await registry.request_run(PIPELINE, None)
    reread = Reread(id=uuid7(), pipeline=others, group="main", reason="r", wanted=WantedKeys(keys=("k",)))
    await persistence.rereads.request(reread)
    assert await registry.asked_for() == {PIPELINE: Asked(run=True), others: Asked(rereads=True)}
    await registry.run_made(PIPELINE, await registry.run_request(PIPELINE))
    assert await registry.asked_for() == {others: Asked(rereads=True)}


@pytest.mark.parametrize("what", ["run", "reread"])
async def test_who_waits_for_requests_is_woken(persistence: Any, what: str) -> None:
    registry = persistence.registry
    await registry.register(PIPELINE, 1)
    async with asyncio.timeout(60):
        while True:  # until a whole wait passes in silence: what wakes the next one is the request
            waiting = asyncio.create_task(registry.wait_for_request(60))
            if not (await asyncio.wait({waiting}, timeout=0.3))[0]:
                break
        if what == "run":
            await registry.request_run(PIPELINE, None)
        else:
            reread = Reread(id=uuid7(), pipeline=PIPELINE, group="g", reason="r", wanted=WantedKeys(keys=("k",)))
            await persistence.rereads.request(reread)
        await asyncio.wait_for(waiting, 20)


async def test_snapshot_wishes_follow_the_domain_rule(persistence: Any, writer: Any) -> None:
    registry = persistence.registry
    assert await registry.wish_snapshot(PIPELINE, reason="loader", restart=True)
    assert (await registry.get(PIPELINE)).state.snapshot_wish == SnapshotWish(reason="loader", restart=True)
    async with persistence.unit_of_work() as work:
        state = await work.extractions.lock(PIPELINE, writer.token)
        moment = (await persistence.registry.get(PIPELINE)).state.last_event_at
        assert moment is None
        under_way = Snapshot(id=SnapshotId(uuid7()), began_at=(await _now(persistence)))
        await work.extractions.save(replace(state, snapshot=under_way, snapshot_wish=None))
        await work.commit()
    assert await registry.wish_snapshot(PIPELINE, reason="loader", restart=True)
    assert (await registry.get(PIPELINE)).state.snapshot_wish is None  # the one under way serves


async def test_a_wish_waits_for_the_page_that_holds_the_row(persistence: Any, writer: Any) -> None:
    async with persistence.unit_of_work() as work:
        state = await work.extractions.lock(PIPELINE, writer.token)
        wish = asyncio.create_task(persistence.registry.wish_snapshot(PIPELINE, reason="late", restart=False))
        await work.extractions.save(replace(state, schema_fingerprint="kept", snapshot_wish=None))
        await work.commit()
    assert await wish
    after = (await persistence.registry.get(PIPELINE)).state
    assert (after.schema_fingerprint, after.snapshot_wish) == ("kept", SnapshotWish(reason="late"))


async def test_the_greatest_forked_log_is_remembered(persistence: Any) -> None:
    registry = persistence.registry
    await registry.register(PIPELINE, 1)
    assert await registry.forked_log(PIPELINE) is None
    for log in (2, 5, 3):
        await registry.report_fork(PIPELINE, Log(log))
    assert await registry.forked_log(PIPELINE) == 5


async def test_a_reset_opens_a_greater_log_and_voids_the_token(persistence: Any, writer: Any) -> None:
    registry = persistence.registry
    await writer.page()
    assert await registry.reset(PIPELINE, lanes=7, reason="more lanes") == 2
    after = await registry.get(PIPELINE)
    assert (after.lanes, after.owner, after.state.log, after.state.sequence) == (7, None, 2, 0)
    assert after.state.snapshot_wish == SnapshotWish(reason="more lanes")
    assert after.token > writer.token
    assert not await registry.renew(PIPELINE, writer.token, 60)
    assert await registry.acquire(PIPELINE, "b", 60) > after.token
    await registry.report_fork(PIPELINE, Log(9))
    assert await registry.reset(PIPELINE, lanes=1, reason="forked") == 10


async def _now(persistence: Any) -> Any:
    await persistence.runs.start(uuid7(), PIPELINE, mode="incremental", cause="clock")
    return (await persistence.runs.page(Query(limit=1))).items[0].started_at
