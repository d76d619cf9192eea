"""10, 17, 27, 34: outbox database, stream store and target put back as they were, singly and together."""

import asyncio
import dataclasses
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import asyncpg
import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.watching import NOW, OLD, drained, generations, jetstream, parked, told_by_all

from qupersync_local.committed import CommittedState, Standing
from qupersync_local.compare import Difference, DifferenceKind
from qupersync_local.stack import OUTBOX_ROLE, TARGET_ROLE, StackOptions
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(420)]
OLDER_ROWS = 600
NEWER_ROWS = 1_400
ROWS = 1_600
GONE = 50  # of the older rows, deleted after the copy was made


@pytest.fixture(scope="module")
def restorable() -> Iterator[ThreadedStack]:
    """A stack whose NATS may be put back; databases are put back one by one."""
    with ThreadedStack(options=StackOptions(fast=True)) as stack:
        yield stack


@pytest.mark.long
@pytest.mark.fault(10)
async def test_no_loss_with_an_older_stream(restorable: ThreadedStack, facts: dict[str, object]) -> None:
    after = await _restored(restorable, {"stream"}, facts)
    assert after.log == 1, "the outbox has it all: no snapshot is needed"


@pytest.mark.fault(17)
async def test_no_loss_with_an_older_target(restorable: ThreadedStack, facts: dict[str, object]) -> None:
    after = await _restored(restorable, {"target"}, facts)
    assert after.log == 1, "the outbox has it all: no snapshot is needed"
    assert facts["resends"], "nobody asked for what the target lost"


@pytest.mark.long
@pytest.mark.fault(27)
async def test_a_greater_log_with_an_older_outbox(restorable: ThreadedStack, facts: dict[str, object]) -> None:
    after = await _restored(restorable, {"outbox"}, facts)
    assert after.log > 1, "the stream was ahead, and the extraction went on in its log"


@pytest.mark.fault(34)
async def test_a_greater_log_with_older_outbox_and_stream(restorable: ThreadedStack, facts: dict[str, object]) -> None:
    after = await _restored(restorable, {"outbox", "stream"}, facts)
    assert after.log > 1, "the loaders were ahead, and the extraction went on in its log"


@pytest.mark.long
@pytest.mark.fault(17, 27)
async def test_no_loss_with_older_outbox_and_target(restorable: ThreadedStack, facts: dict[str, object]) -> None:
    after = await _restored(restorable, {"outbox", "target"}, facts)
    assert after.log > 1, "the stream was ahead, and the extraction went on in its log"


@pytest.mark.long
@pytest.mark.fault(10, 17)
async def test_no_loss_with_older_stream_and_target(restorable: ThreadedStack, facts: dict[str, object]) -> None:
    after = await _restored(restorable, {"stream", "target"}, facts)
    assert after.log == 1, "the outbox has it all: no snapshot is needed"


@pytest.mark.long
@pytest.mark.fault(17, 34)
async def test_no_loss_when_all_three_are_older(restorable: ThreadedStack, facts: dict[str, object]) -> None:
    """Nobody can tell that anything was put back: what went since then goes, as always, with the next snapshot.

    More pages are lost than come afterwards, so that a relay which still remembers them would have nothing to publish.
    """
    after = await _restored(restorable, {"outbox", "stream", "target"}, facts, page_rows=50)
    assert after.log == 1, "nobody has ever seen more than the extraction has"


async def _restored(
    stack: ThreadedStack, back: set[str], facts: dict[str, object], *, page_rows: int = 500
) -> Standing:
    """Put `back` what a copy has, while the services are alive; where the pipeline stands when target = source."""
    async with opened(stack, pipeline={"page_rows": page_rows}) as world:
        await world.insert(1, OLDER_ROWS, moment=OLD)
        await world.migrate()
        await world.services.run(loaders=2)
        await world.wait_for_snapshot(None, seconds_max=180)
        copies = _Copies(world)
        await copies.keep(back)
        try:
            async with _reconnected(world) as seen:
                await _change(seen)
            _send(world, signal.SIGSTOP)
            before = await copies.tops()
            await copies.put_back(back)
            after = await copies.tops()
            for part in back:
                assert after[part] < before[part], f"{part} is not older than it was: {after[part]}"
            async with _reconnected(world) as seen:
                _send(world, signal.SIGCONT)
                await seen.insert(NEWER_ROWS + 1, ROWS)
                await seen.source.execute(
                    f"UPDATE {seen.table} SET amount = amount + 1, updated_at = {NOW} WHERE id % 10 = 0"
                )
                if len(back) == len(copies.PARTS):
                    await _only_gone_differ(seen)
                    await seen.trigger("snapshot")
                await drained(seen, ROWS - GONE)
                assert await parked(seen) == (0, 0)
                facts |= {
                    "rows": ROWS - GONE,
                    "resends": await generations(seen),
                    "gaps": len(told_by_all(seen, "gap")),
                    "forks": len(told_by_all(seen, "fork")),
                    "logs": (await seen.standing()).log,
                }
                return await seen.standing()
        finally:
            _send(world, signal.SIGCONT)
            await copies.drop()


async def _change(world: World) -> None:
    """What the copy does not have: rows that came, changed and went, with a whole snapshot among them."""
    await world.insert(OLDER_ROWS + 1, 1_000)
    await world.source.execute(f"DELETE FROM {world.table} WHERE id <= {GONE}")
    before = (await world.standing()).snapshot
    await world.trigger("snapshot")
    await world.wait_for_snapshot(before, seconds_max=180)
    await world.insert(1_001, NEWER_ROWS)
    await world.source.execute(f"UPDATE {world.table} SET flag = NOT flag, updated_at = {NOW} WHERE id % 7 = 0")
    await drained(world, NEWER_ROWS - GONE)
    await world.wait_for("everything applied", lambda one: one.level, seconds_max=180)


async def _only_gone_differ(world: World) -> None:
    """Returns when nothing is missing and nothing stale, though rows that went at the source may still stand there."""
    found: list[Difference] = []

    async def reached() -> bool:
        compared = await world.compare(differences_max=ROWS)
        found[:] = [one for one in compared.differences if one.kind is not DifferenceKind.EXTRA]
        return compared.equal == ROWS - GONE

    try:
        await eventually("", reached, seconds_max=180, pause_seconds=0.5)
    except AssertionError:
        some = "\n".join(map(str, found[:20]))
        raise AssertionError(f"{len(found)} rows are missing or stale, {await world.standing()}:\n{some}") from None


def _send(world: World, number: signal.Signals) -> None:
    for process in world.services.processes.values():
        if process.lasting:
            process.send(number)


@asynccontextmanager
async def _reconnected(world: World) -> AsyncIterator[World]:
    """The world on fresh connections: a database that is copied or put back throws out whoever is connected."""
    described = world.configuration
    app = await asyncpg.connect(described["target"]["dsn"])
    try:
        async with CommittedState.opened(
            outbox_dsn=described["outbox"]["dsn"], target_dsn=described["target"]["dsn"], pipelines=[world.name]
        ) as committed:
            yield dataclasses.replace(world, app=app, committed=committed)
    finally:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await app.close(timeout=5)


@dataclass(frozen=True, slots=True)
class _Copies:
    """Older states of the three places where a pipeline's progress stands."""

    world: World
    PARTS: ClassVar = ("outbox", "stream", "target")

    async def keep(self, parts: set[str]) -> None:
        for part in sorted(parts):
            if part == "stream":
                await self._call(self.world.stack.stack.nats.backup(self.world.name))
            else:
                name, owner = self._database(part)
                await self._call(self.world.stack.stack.postgres.copy_database(name, f"kept_{name}", owner=owner))

    async def put_back(self, parts: set[str]) -> None:
        for part in sorted(parts):
            if part == "stream":
                await self._call(self.world.stack.stack.nats.restore(self.world.name))
            else:
                name, owner = self._database(part)
                await self._call(self.world.stack.stack.postgres.copy_database(f"kept_{name}", name, owner=owner))

    async def tops(self) -> dict[str, int]:
        """How far each of the three has come."""
        described = self.world.configuration
        found = {}
        for part, sql in (
            ("outbox", "SELECT sequence FROM qupersync.extraction"),
            ("target", "SELECT sum(sequence)::bigint FROM qupersync_watermark"),
        ):
            connection = await asyncpg.connect(described[part]["dsn"])
            try:
                found[part] = int(await connection.fetchval(sql))
            finally:
                await connection.close()
        async with jetstream(self.world) as js:
            found["stream"] = (await js.stream_info(stream_name(PipelineName(self.world.name)))).state.last_seq
        return found

    async def drop(self) -> None:
        for part in ("outbox", "target"):
            name, _ = self._database(part)
            await self._call(self.world.stack.stack.postgres.drop_database(f"kept_{name}"))

    def _database(self, part: str) -> tuple[str, str]:
        dsn = str(self.world.configuration[part]["dsn"])
        return dsn.rpartition("/")[2], OUTBOX_ROLE if part == "outbox" else TARGET_ROLE

    async def _call(self, work: Coroutine[Any, Any, None]) -> None:
        await asyncio.to_thread(self.world.stack.call, work)
