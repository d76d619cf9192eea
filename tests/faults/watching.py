"""What tests of stream, loaders and target look at: every watermark that was committed, redeliveries, logs."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import nats
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from tests.e2e.world import PATIENCE_SECONDS, World, eventually
from tests.faults.gates import Gate

from qupersync_local.services import ServiceProcess
from qupersync_shared.contracts.subjects import durable_name, lane_subject, stream_name
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName

OLD: Final = "timestamp '2024-01-01' + n * interval '1 millisecond'"
NOW: Final = "timezone('UTC', transaction_timestamp())"
GROUP: Final = GroupName("main")

_AUDIT: Final = """
    CREATE TABLE public.fault_audit (
        n bigint GENERATED ALWAYS AS IDENTITY, lane integer, log bigint, sequence bigint, who text, backend integer
    );
    CREATE FUNCTION public.fault_note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.fault_audit (lane, log, sequence, who, backend)
        VALUES (NEW.lane, NEW.log, NEW.sequence, session_user, pg_backend_pid());
        RETURN NEW;
    END $$;
    CREATE TRIGGER fault_note AFTER INSERT OR UPDATE ON public.qupersync_watermark
        FOR EACH ROW EXECUTE FUNCTION public.fault_note();
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A watermark that was committed: of which lane, where it stood, and whose session set it."""

    lane: int
    log: int
    sequence: int
    who: str


class Audit:
    """Notes every watermark in the transaction that sets it."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def opened(cls, world: World) -> AsyncIterator["Audit"]:
        """After `migrate`."""
        connection = await asyncpg.connect(world.services_target_dsn, server_settings={"application_name": "audit"})
        try:
            await connection.execute(_AUDIT)
            yield cls(connection)
        finally:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.close(timeout=5)

    @classmethod
    @asynccontextmanager
    async def resumed(cls, world: World) -> AsyncIterator["Audit"]:
        """The audit that was begun before its server was away."""
        connection = await asyncpg.connect(world.services_target_dsn, server_settings={"application_name": "audit"})
        try:
            yield cls(connection)
        finally:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.close(timeout=5)

    async def marks(self) -> list[Mark]:
        """Every watermark that was committed so far, in order."""
        rows = await self._connection.fetch("SELECT lane, log, sequence, who FROM public.fault_audit ORDER BY n")
        return [Mark(**dict(row)) for row in rows]

    async def count(self) -> int:
        """How many watermarks were committed so far."""
        return int(await self._connection.fetchval("SELECT count(*) FROM public.fault_audit"))

    async def by_lane(self) -> dict[int, int]:
        """How many watermarks of each lane were committed so far."""
        rows = await self._connection.fetch("SELECT lane, count(*) AS marks FROM public.fault_audit GROUP BY lane")
        return {row["lane"]: row["marks"] for row in rows}

    async def assert_in_order(self) -> int:
        """Promises W and D: no lane's watermark was ever set twice to the same event, or back; how many were set."""
        marks = await self.marks()
        reached: dict[int, tuple[int, int]] = {}
        for mark in marks:
            assert (mark.log, mark.sequence) > reached.get(mark.lane, (0, 0)), f"{mark} after {reached[mark.lane]}"
            reached[mark.lane] = (mark.log, mark.sequence)
        return len(marks)


# --------------------------------------------------------------------------------------------------------------- stream


@asynccontextmanager
async def jetstream(world: World, *, timeout_seconds: float = 10) -> AsyncIterator[JetStreamContext]:
    """JetStream on a connection of the test's own."""
    client = await nats.connect(world.configuration["nats"]["servers"], error_cb=_silent, connect_timeout=10)
    try:
        yield client.jetstream(timeout=timeout_seconds)
    finally:
        await client.close()


async def _silent(_: Exception) -> None:
    """The servers of these tests go away on purpose."""


def watermark_gate(world: World) -> AbstractAsyncContextManager[Gate]:
    """A gate before the watermark: rows and deletes are done by then, the commit is not."""
    return Gate.opened(
        world.services_target_dsn, "public.qupersync_watermark", when="NEW.lane >= 0", event="INSERT OR UPDATE"
    )


async def consumer(js: JetStreamContext, world: World, lane: int) -> ConsumerInfo:
    pipeline = PipelineName(world.name)
    return await js.consumer_info(stream_name(pipeline), durable_name(GROUP, pipeline, Lane(lane)))


async def redelivered(js: JetStreamContext, world: World, *, lanes: int) -> int:
    """How often an event was delivered once more, where nothing was ever purged from the stream."""
    pipeline = PipelineName(world.name)
    counts = (await js.stream_info(stream_name(pipeline), subjects_filter=">")).state.subjects or {}
    extra = 0
    for lane in range(lanes):
        info = await consumer(js, world, lane)
        assert info.delivered is not None
        waiting = info.num_pending or 0
        extra += info.delivered.consumer_seq - (counts.get(lane_subject(pipeline, Lane(lane)), 0) - waiting)
    return extra


async def generations(world: World) -> int:
    """How often a lane was sent back to publish anew."""
    connection = await asyncpg.connect(world.configuration["outbox"]["dsn"])
    try:
        return int(await connection.fetchval("SELECT coalesce(sum(generation), 0) FROM qupersync.relay_cursor"))
    finally:
        await connection.close()


# ----------------------------------------------------------------------------------------------------------------- ends


def told(process: ServiceProcess, event: str) -> list[dict[str, Any]]:
    """What a process has logged under this name."""
    found = []
    for line in process.log.read_text("utf-8", errors="replace").splitlines() if process.log.exists() else []:
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("event") == event:
                found.append(entry)
    return found


def told_by_all(world: World, event: str) -> list[dict[str, Any]]:
    """What all processes of the world have logged under this name."""
    return [entry for process in world.services.processes.values() for entry in told(process, event)]


async def parked(world: World) -> tuple[int, int]:
    """Rows in quarantine and dead letters, resolved ones included."""
    connection = await asyncpg.connect(world.services_target_dsn)
    try:
        row = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM qupersync_quarantine) AS q, (SELECT count(*) FROM qupersync_dead_letter) AS d"
        )
        return (row["q"], row["d"])
    finally:
        await connection.close()


async def equal(world: World, rows: int) -> bool:
    """Whether exactly these rows are on both sides. The table may not be there yet."""
    try:
        compared = await world.compare()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return False
    world.services.check()
    return compared.same and compared.equal == rows


async def in_source(world: World) -> int:
    """The rows of the source, now that nobody writes there: a write that was broken off may have happened."""
    return int(await world.source.fetchval(f"SELECT count(*) FROM {world.table}"))


async def drained(world: World, rows: int, *, seconds_max: float = 180) -> None:
    """Promise L: by itself, the target comes to equal the source, row by row; says what differs when it does not."""
    try:
        await eventually("", lambda: equal(world, rows), seconds_max=seconds_max, pause_seconds=0.3)
    except AssertionError:
        compared = await world.compare()
        found = f"{compared.equal} equal rows and {len(compared.differences)} differences, such as"
        some = "\n".join(map(str, compared.differences))
        raise AssertionError(f"{rows} equal rows were not reached within {seconds_max:g} s: {found}\n{some}") from None
    await world.assert_equal(rows)


async def shown(world: World, *parts: str, seconds_max: float = PATIENCE_SECONDS) -> str:
    """Promise V: `qupersync status` comes to give a reason with all these words; the reason."""
    found: list[str] = []

    async def there() -> bool:
        document = await world.status()
        reasons = [str(document["reason"]), *map(str, document["reasons"])]
        reasons += [str(entry.get("reason")) for entry in document["pipelines"].values()]
        found[:] = [reason for reason in reasons if all(part.lower() in reason.lower() for part in parts)]
        return bool(found)

    await eventually(f"no reason with {parts} was shown", there, seconds_max=seconds_max, pause_seconds=0.5)
    return found[0]


async def retire(world: World, process: ServiceProcess, *, kill: bool = False) -> None:
    """The process is not wanted any more: asked to end, which it must do in order, or killed."""
    del world.services.processes[process.name]
    if kill:
        await process.kill()
        return
    code = await process.stop()
    assert code == 0, f"{process.name} ended with {code}: {process.tail()}"


@asynccontextmanager
async def meanwhile(work: Callable[[], Any]) -> AsyncIterator[None]:
    """`work` runs until the block ends; what it raises ends the block."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work())
        try:
            yield
        finally:
            task.cancel()
