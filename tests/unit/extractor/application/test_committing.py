"""The page transaction: all lanes, cursor and sequence together, or nothing at all (promise O)."""

import pytest
from tests.unit.extractor.application.bench import COLUMNS, NAME, Bench, pipeline

from qupersync_extractor.application.committing import PageCommitter, RunContext
from qupersync_extractor.application.pages import empty_draft
from qupersync_extractor.domain.extraction import Extraction, HeartbeatPage, SnapshotPage
from qupersync_extractor.infrastructure.memory.store import CommitFault
from qupersync_extractor.infrastructure.memory.unit_of_work import MemoryUnitOfWorkFactory
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import DatabaseUnavailableError, LeaseLostError, TransientError
from qupersync_shared.kernel.ids import FencingToken, RunId, SnapshotId, uuid7

SCHEMA = RowSchema(columns=COLUMNS, key=("id",))


@pytest.fixture
async def bench() -> Bench:
    return await Bench().registered()


def committer(bench: Bench) -> PageCommitter:
    return PageCommitter(pipeline(), MemoryUnitOfWorkFactory(bench.store), bench.clock)


async def context(bench: Bench, mode: Mode = Mode.INCREMENTAL) -> RunContext:
    token = await bench.registry.acquire(NAME, "one", 30)
    assert token is not None
    return RunContext(run=RunId(uuid7()), token=token, schema=SCHEMA, mode=mode)


async def known(bench: Bench) -> Extraction:
    found = await bench.registry.get(NAME)
    assert found is not None
    return found.state


async def test_a_run_ends_where_its_database_went_back_to_a_backup_of_the_same_lease(bench: Bench) -> None:
    run = await context(bench)
    page = empty_draft(SCHEMA, HeartbeatPage(), lanes=2)
    backup = await known(bench)
    state = await committer(bench).commit(page, run, backup)
    bench.store.pipelines[NAME].state = backup
    with pytest.raises(TransientError, match="stands at 1/0 and this run left it at 1/1: the database went back"):
        await committer(bench).commit(page, run, state)
    assert bench.sequence == 0


async def test_a_wish_that_came_meanwhile_ends_no_run(bench: Bench) -> None:
    run = await context(bench)
    before = await known(bench)
    await bench.registry.wish_snapshot(NAME, reason="a test", restart=False)
    state = await committer(bench).commit(empty_draft(SCHEMA, HeartbeatPage(), lanes=2), run, before)
    assert (state.sequence, state.snapshot_wish is not None) == (1, True)


async def test_every_lane_gets_the_next_sequence_and_its_own_predecessor(bench: Bench) -> None:
    run = await context(bench)
    for _ in range(3):
        await committer(bench).commit(empty_draft(SCHEMA, HeartbeatPage(), lanes=2), run, await known(bench))
    events = bench.envelopes()
    assert [(event.sequence, event.lane) for event in events] == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
    for lane in range(2):
        own = [event for event in events if event.lane == lane]
        assert [event.previous_id for event in own] == [None, own[0].id, own[1].id]


@pytest.mark.parametrize(("fault", "kept"), [(CommitFault.LOST, 0), (CommitFault.KEPT, 1)])
async def test_a_commit_without_an_answer_is_kept_whole_or_not_at_all(
    bench: Bench, fault: CommitFault, kept: int
) -> None:
    run = await context(bench)
    bench.store.commit_fault = fault
    with pytest.raises(DatabaseUnavailableError):
        await committer(bench).commit(empty_draft(SCHEMA, HeartbeatPage(), lanes=2), run, await known(bench))
    assert (bench.sequence, len(bench.records())) == (kept, 2 * kept)


async def test_a_page_that_continues_nothing_is_thrown_away(bench: Bench) -> None:
    kind = SnapshotPage(snapshot_id=SnapshotId(uuid7()), after=None, upto=None)
    run = await context(bench, Mode.SNAPSHOT)
    with pytest.raises(TransientError, match="out of date"):
        await committer(bench).commit(empty_draft(SCHEMA, kind, lanes=2), run, await known(bench))
    assert bench.records() == []


async def test_a_page_under_a_token_that_is_void_is_refused(bench: Bench) -> None:
    run = await context(bench)
    await bench.registry.reset(NAME, lanes=2, reason="a test")
    with pytest.raises(LeaseLostError):
        await committer(bench).commit(empty_draft(SCHEMA, HeartbeatPage(), lanes=2), run, await known(bench))
    stale = RunContext(run=run.run, token=FencingToken(0), schema=SCHEMA, mode=Mode.INCREMENTAL)
    with pytest.raises(LeaseLostError):
        await committer(bench).commit(empty_draft(SCHEMA, HeartbeatPage(), lanes=2), stale, await known(bench))
    assert bench.records() == []
