"""What loaders ask for is recorded before they get their answer; what nobody can do gets none."""

from typing import Any

import pytest

from qupersync_extractor.application.commands import (
    accept_fork_report,
    accept_reread_request,
    accept_snapshot_request,
)
from qupersync_extractor.domain.rereads import SpanOrder, WantedKeys, WantedSpan, refuse, refuse_keys, take_keys
from qupersync_extractor.infrastructure.memory.registry import MemoryRegistry
from qupersync_extractor.infrastructure.memory.rereads import MemoryRereads, keep
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_shared.contracts.commands import (
    Accepted,
    CursorSpan,
    ForkReport,
    KeySpan,
    RereadRequest,
    SnapshotRequest,
)
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.ids import PipelineName, uuid7

NAME = PipelineName("orders")


def fork(pipeline: str = NAME) -> ForkReport:
    return ForkReport(group="main", pipeline=pipeline, lane=0, log=3, sequence=9, event_id=uuid7())


def request(pipeline: str = NAME) -> SnapshotRequest:
    return SnapshotRequest(group="main", pipeline=pipeline, log=1, reason="no baseline")


def reread(pipeline: str, **content: Any) -> RereadRequest:
    return RereadRequest(id=uuid7(), group="main", pipeline=pipeline, reason="parked", **content)


async def test_a_snapshot_request_is_a_wish_and_a_run() -> None:
    registry = MemoryRegistry(MemoryStore())
    await registry.register(NAME, 2)
    await accept_snapshot_request(registry, request())
    registration = await registry.get(NAME)
    assert registration is not None
    assert registration.state.snapshot_wish is not None
    assert registration.state.snapshot_wish.restart
    assert await registry.run_request(NAME) is not None


async def test_a_fork_report_is_remembered_and_asks_for_a_run() -> None:
    registry = MemoryRegistry(MemoryStore())
    await registry.register(NAME, 2)
    await accept_fork_report(registry, fork())
    assert await registry.forked_log(NAME) == 3
    assert await registry.run_request(NAME) is not None


async def test_an_unknown_pipeline_gets_no_answer() -> None:
    registry = MemoryRegistry(MemoryStore())
    with pytest.raises(TerminalError, match="no pipeline 'nobody'"):
        await accept_fork_report(registry, fork("nobody"))
    with pytest.raises(TerminalError, match="no pipeline 'nobody'"):
        await accept_snapshot_request(registry, request("nobody"))
    with pytest.raises(TerminalError, match="no pipeline 'nobody'"):
        await accept_reread_request(MemoryRereads(MemoryStore()), reread("nobody", keys=("a",)))


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({"keys": ("a", "b")}, WantedKeys(keys=("a", "b"))),
        ({"cursor_span": CursorSpan(upto="u")}, WantedSpan(by=SpanOrder.CURSOR, after=None, upto="u")),
        ({"key_span": KeySpan(after="a")}, WantedSpan(by=SpanOrder.KEY, after="a", upto=None)),
    ],
)
async def test_a_reread_is_kept_as_it_was_asked_for(asked: dict[str, Any], kept: WantedKeys | WantedSpan) -> None:
    store = MemoryStore()
    rereads = MemoryRereads(store)
    await MemoryRegistry(store).register(NAME, 2)
    wanted = reread(NAME, redrives=(uuid7(),), **asked)
    await accept_reread_request(rereads, wanted)
    found = await rereads.get(wanted.id)
    assert found is not None
    assert (found.wanted, found.redrives, found.reason, found.group) == (kept, wanted.redrives, "parked", "main")


async def test_asking_for_a_reread_again_tells_what_could_not_be_read() -> None:
    store = MemoryStore()
    rereads = MemoryRereads(store)
    await MemoryRegistry(store).register(NAME, 2)
    wanted = reread(NAME, keys=("a", "b"))
    assert await accept_reread_request(rereads, wanted) == Accepted()
    assert await accept_reread_request(rereads, wanted) == Accepted()
    kept = await rereads.get(wanted.id)
    assert kept is not None
    keep(store, [refuse_keys(kept, "no key")])
    assert await accept_reread_request(rereads, wanted) == Accepted(), "it has not ended"
    keep(store, [refuse(kept, "no column")])
    assert await accept_reread_request(rereads, wanted) == Accepted(refused="no column", keys_refused=2)
    keep(store, [take_keys(kept, 2)])
    assert await accept_reread_request(rereads, wanted) == Accepted()
