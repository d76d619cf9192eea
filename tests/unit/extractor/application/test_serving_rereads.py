"""Rereads in a running extractor: made when they are asked for, beside the runs and not instead of them."""

from datetime import timedelta

import pytest
from tests.unit.extractor.application.bench import NAME, Bench, keys_wanted
from tests.unit.extractor.application.test_serving import quickly, rested, served, snapshots, until

from qupersync_extractor.application import asking, serving
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.kernel.errors import SourceUnavailableError
from qupersync_shared.runtime.lifecycle import Stop


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(serving, "LEASED_ELSEWHERE_SECONDS", 0.01)
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
