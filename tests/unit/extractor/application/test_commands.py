"""What loaders ask for is recorded before they get their answer; what nobody can do gets none."""

import pytest

from qupersync_extractor.application.commands import accept_fork_report, accept_snapshot_request
from qupersync_extractor.infrastructure.memory.registry import MemoryRegistry
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_shared.contracts.commands import ForkReport, SnapshotRequest
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.ids import PipelineName, uuid7

NAME = PipelineName("orders")


def fork(pipeline: str = NAME) -> ForkReport:
    return ForkReport(group="main", pipeline=pipeline, lane=0, log=3, sequence=9, event_id=uuid7())


def request(pipeline: str = NAME) -> SnapshotRequest:
    return SnapshotRequest(group="main", pipeline=pipeline, log=1, reason="no baseline")


async def test_a_snapshot_request_is_a_wish_and_a_run() -> None:
    registry = MemoryRegistry(MemoryStore())
    await registry.register(NAME, 2)
    await accept_snapshot_request(registry, request())
    registration = await registry.get(NAME)
    assert registration is not None
    assert registration.state.snapshot_wish is not None
    assert registration.state.snapshot_wish.restart
    assert (await registry.take_request(NAME))[0]


async def test_a_fork_report_is_remembered_and_asks_for_a_run() -> None:
    registry = MemoryRegistry(MemoryStore())
    await registry.register(NAME, 2)
    await accept_fork_report(registry, fork())
    assert await registry.forked_log(NAME) == 3
    assert (await registry.take_request(NAME))[0]


async def test_an_unknown_pipeline_gets_no_answer() -> None:
    registry = MemoryRegistry(MemoryStore())
    with pytest.raises(TerminalError, match="no pipeline 'nobody'"):
        await accept_fork_report(registry, fork("nobody"))
    with pytest.raises(TerminalError, match="no pipeline 'nobody'"):
        await accept_snapshot_request(registry, request("nobody"))
