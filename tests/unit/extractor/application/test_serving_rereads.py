"""Rereads in a running extractor: made when they are asked for, beside the runs and not instead of them."""

from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from tests.unit.extractor.application.bench import NAME, Bench, keys_wanted
from tests.unit.extractor.application.test_serving import quickly, rested, served, snapshots, until

from qupersync_extractor.application import asking, serving
from qupersync_extractor.application.control import note_configured, pause, resume
from qupersync_extractor.application.ports import Asked
from qupersync_extractor.domain.pipeline import Relation
from qupersync_extractor.infrastructure.memory.control import MemoryControlWork
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.contracts.schema import Column
from qupersync_shared.kernel.errors import SourceUnavailableError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.lifecycle import Stop


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(serving, "LEASED_ELSEWHERE_SECONDS", 0.01)
    monkeypatch.setattr(serving, "RUN_NEEDED_SECONDS", 0.2)
    monkeypatch.setattr(asking, "POLL_SECONDS", 0.05)


@pytest.fixture
async def bench() -> Bench:
    return await Bench().registered()


async def test_a_reread_is_made_at_once_and_does_not_count_as_a_run(bench: Bench) -> None:
    bench.insert(1, 2)
    bench.pass_time(timedelta(minutes=1))
    service = bench.service()
    async with served(service):
        await rested(service)
        sequence = bench.sequence
        asked = keys_wanted(1, 99)
        await bench.rereads.request(asked)
        await until(lambda: bench.store.rereads[asked.id].reread.done)
        assert bench.envelopes()[-1].mode is Mode.REREAD
        assert bench.sequence == sequence + 1
    assert snapshots(bench) == 1
    assert bench.sent_ids(after=sequence) == {1, 99}


async def test_a_reread_that_waits_for_a_first_snapshot_gets_it(bench: Bench) -> None:
    bench.insert(1)
    asked = keys_wanted(1)
    await bench.rereads.request(asked)
    service = bench.service(cursor=None)
    async with served(service):
        await until(lambda: bench.store.rereads[asked.id].reread.done)
    assert [event.mode for event in bench.envelopes()[-4:]] == [Mode.SNAPSHOT] * 2 + [Mode.REREAD] * 2


async def test_once_serves_rereads_too(bench: Bench) -> None:
    bench.insert(*range(1, 30))
    asked = [keys_wanted(*range(1, 30)) for _ in range(12)]
    for one in asked:
        await bench.rereads.request(one)
    await bench.service().once(Stop())
    assert all(row.reread.done for row in bench.store.rereads.values())


async def test_rereads_of_a_source_that_is_away_are_tried_again(bench: Bench) -> None:
    bench.insert(1)
    bench.pass_time(timedelta(minutes=1))
    service = quickly(bench.service())
    async with served(service):
        await rested(service)
        bench.source.trouble = SourceUnavailableError("down")
        asked = keys_wanted(1)
        await bench.rereads.request(asked)
        await until(lambda: "down" in service.troubles.by_pipeline().get(NAME, ""))
        bench.source.trouble = None
        await until(lambda: bench.store.rereads[asked.id].reread.done)
        await until(lambda: service.troubles.by_pipeline() == {})
    assert bench.store.rereads[asked.id].reread.refused is None


async def test_rereads_that_need_a_run_wait_at_leisure_while_the_pipeline_is_paused(bench: Bench) -> None:
    bench.insert(1)
    controls = partial(MemoryControlWork, bench.store)
    await note_configured(controls, frozenset([NAME]), by="configuration")
    await pause(controls, NAME, by="ann", reason=None, version=None)
    await bench.board.look()
    asked = keys_wanted(1)
    await bench.rereads.request(asked)
    calls: Counter[str] = Counter()
    describe, asked_for = bench.source.describe, bench.registry.asked_for

    async def described(relation: Relation) -> tuple[Column, ...]:
        calls["described"] += 1
        return await describe(relation)

    async def looked() -> dict[PipelineName, Asked]:
        calls["looked"] += 1
        return await asked_for()

    bench.source.describe = described  # type: ignore[method-assign]
    bench.registry.asked_for = looked  # type: ignore[method-assign]
    service = bench.service(cursor=None)
    async with served(service):
        await until(lambda: calls["described"] > 0 and calls["looked"] > 8)
        assert calls["described"] < calls["looked"], "each costs the source a query, and the database a lease"
        assert bench.sequence == 0
        await resume(controls, NAME, by="ann", version=None)
        await until(lambda: bench.store.rereads[asked.id].reread.done)
