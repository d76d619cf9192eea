"""One seeded schedule of the real use cases: processes come, work side by side, and are killed at any await."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any, Final

from tests.properties.use_cases.bench import NAME, TARGET, Bench, Held
from tests.properties.use_cases.gates import KilledError, Process

from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.infrastructure.memory.store import CommitFault
from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_shared.kernel.ids import Lane, Sequence, StreamSequence

KEYS: Final = 12
KILLED: Final = 0.02
DRAIN_ROUNDS: Final = 80
_ACTIONS: Final = {
    "write": 10,
    "write late": 3,
    "delete": 2,
    "time": 8,
    "extract": 8,
    "relay": 10,
    "load": 14,
    "beat": 3,
    "keep": 2,
    "commit fault": 1,
    "ack lost": 1,
    "messages lost": 3,
    "stream": 1,
    "outbox": 1,
    "extractor": 1,
    "target": 1,
    "let all end": 3,
}


class Schedule:
    """`trace` tells what happened, for whoever must mend it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"use cases {seed}")
        self.bench = Bench(self.random)
        self.trace: list[str] = []
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._late: list[Any] = []
        self._keeper = self.bench.keeper()
        self._backups: dict[str, Any] = {}

    async def play(self, steps: int) -> None:
        bench = self.bench
        await bench.registry.register(NAME, TARGET.lanes)
        await bench.stream.declare(NAME)
        bench.write(*range(KEYS // 2))
        for _ in range(steps):
            action = self.random.choices(list(_ACTIONS), list(_ACTIONS.values()))[0]
            await self._act(action)
            for _ in range(self.random.randrange(6)):
                await asyncio.sleep(0)
        await self._end_all()
        for transaction in self._late:
            transaction.commit()
        await self._drain(deletes=False)
        await bench.registry.wish_snapshot(NAME, reason="the end", restart=True)
        await self._drain(deletes=True)
        await self._deliver_everything_again()

    # ------------------------------------------------------------------------------------------------------ one step

    async def _act(self, action: str) -> None:
        bench, random = self.bench, self.random
        self.trace.append(action)
        match action:
            case "write":
                bench.write(*random.sample(range(KEYS), random.choice((1, 1, 7))))
            case "write late":
                self._late.append(bench.write_late(random.randrange(KEYS)))
            case "delete":
                number = random.randrange(KEYS)
                bench.table.delete(lambda row: row["id"] == number)
            case "time":
                self._pass_time()
            case "extract":
                owner = random.choice(("extractor 1", "extractor 2"))
                forced = random.choice((None, None, None, ForcedMode.SNAPSHOT))
                self._start(owner, bench.extract(self._process(), owner, forced))
            case "relay":
                owner = random.choice(("relay 1", "relay 2"))
                self._start(owner, bench.relay(self._process(), owner))
            case "load":
                self._start(random.choice(("loader 1", "loader 2")), self._load())
            case "beat":
                await bench.beat()
            case "keep":
                await self._keep()
            case "let all end":
                await self._end_all()
            case _:
                await self._strike(action)

    async def _strike(self, action: str) -> None:
        bench, random = self.bench, self.random
        match action:
            case "commit fault":
                bench.store.commit_fault = random.choice(list(CommitFault))
            case "ack lost":
                bench.stream.lose_acks = 1
            case "outbox":
                last = min((row.cursor.last_sequence for row in bench.store.cursors.values()), default=Sequence(0))
                bench.store.drop_records(upto=last)
            case "messages lost":
                bench.lose(random.choice(bench.lanes), random.choice((1, 2)))
            case "stream":
                await self._strike_stream()
            case "extractor":
                await self._restore("extractor", bench.backup_extractor, bench.restore_extractor)
            case "target":
                await self._restore("target", bench.backup_target, bench.restore_target)

    async def _strike_stream(self) -> None:
        await self._end_all()
        messages = [message for lane in self.bench.lanes for message in self.bench.stream.messages(NAME, lane)]
        match self.random.choice(("purged", "restored", "re-created")):
            case "purged":
                self.bench.stream.purge(NAME)
            case "restored" if messages:
                back = self.random.choice(messages).stream_sequence
                self.bench.stream.rewind(NAME, to=StreamSequence(back))
                self.bench.floors = {lane: min(floor, back) for lane, floor in self.bench.floors.items()}
            case _:
                self.bench.recreate_stream()
                await self.bench.stream.declare(NAME)

    async def _restore(self, name: str, backup: Any, restore: Any) -> None:
        await self._end_all()
        if name in self._backups and self.random.random() < 0.5:
            restore(self._backups.pop(name))
            self.trace.append(f"{name} restored")
        else:
            self._backups[name] = backup()

    def _pass_time(self) -> None:
        """Late transactions commit within the lookback."""
        self.bench.pass_time(timedelta(seconds=self.random.choice((5, 40, 100, 170))))
        limit = self.bench.source.now - timedelta(minutes=6)
        for transaction in list(self._late):
            if transaction.started_at <= limit or self.random.random() < 0.3:
                self._late.remove(transaction)
                transaction.commit()

    # ------------------------------------------------------------------------------------------------------ processes

    def _process(self) -> Process:
        return Process(self.random, chance=KILLED)

    def _start(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        """A process goes about its work beside the others, unless it is still at it."""
        task = self._running.get(name)
        if task is not None and not task.done():
            work.close()
            return
        self._running[name] = asyncio.create_task(self._until_killed(name, work), name=name)

    async def _until_killed(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except KilledError:
            self.trace.append(f"{name} was killed")

    async def _load(self) -> None:
        process = self._process()
        applying = self.bench.applying(process)
        for _ in range(3):
            for lane in self.bench.lanes:
                await self.bench.load(process, applying, lane)

    async def _end_all(self) -> None:
        await asyncio.gather(*self._running.values())
        self._running.clear()

    async def _keep(self) -> None:
        lanes = [(TARGET, lane) for lane in self.bench.lanes]
        await self._keeper.look(lanes, await self.bench.target.states(TARGET.group))

    # ---------------------------------------------------------------------------------------------------------- the end

    async def _drain(self, *, deletes: bool) -> None:
        """Nobody is killed any more; the target must come to be what the source is."""
        bench, calm = self.bench, Process(self.random, chance=0)
        bench.store.commit_fault, bench.stream.lose_acks = None, 0
        applying = bench.applying(calm)
        written = bench.source.now
        for _ in range(DRAIN_ROUNDS):
            bench.pass_time(timedelta(seconds=61))
            await bench.extract(calm, "extractor 1")
            await bench.relay(calm, "relay 1")
            for lane in bench.lanes:
                await self._load_all(calm, applying, lane)
            await bench.beat()
            await self._keep()
            if await self._rests(since=written) and not (deletes and bench.content() != bench.wanted()):
                break
        missing = {key: (have, bench.content().get(key)) for key, have in bench.wanted().items()}
        wrong = {key: pair for key, pair in missing.items() if pair[0] != pair[1]}
        assert not wrong, f"L: key → (source, target): {wrong}"
        if deletes:
            assert bench.content() == bench.wanted(), "L: deleted rows stay"
        assert await self._rests(since=written), f"W: no lane claims {written}: {await self._claims()}"

    async def _load_all(self, process: Process, applying: ApplyEvent, lane: Lane) -> None:
        loading = True
        while loading:
            loading = await self.bench.load(process, applying, lane)

    async def _claims(self) -> list[Any]:
        states = await self.bench.target.states(TARGET.group)
        known = states[NAME].watermarks if NAME in states else {}
        return [known[lane].honest_time if lane in known else None for lane in self.bench.lanes]

    async def _rests(self, *, since: Any) -> bool:
        """Every lane claims all that was written."""
        state = self.bench.store.pipelines[NAME].state
        claims = await self._claims()
        return state.snapshot_wish is None and all(claim is not None and claim > since for claim in claims)

    async def _deliver_everything_again(self) -> None:
        """Promise D, in whatever order duplicates come."""
        bench, calm = self.bench, Process(self.random, chance=0)
        before = bench.content(), await self._claims()
        for message in self.random.sample(bench.delivered, len(bench.delivered)):
            if message.lane in bench.lanes:
                await self._deliver(bench.applying(calm), message)
        assert (bench.content(), await self._claims()) == before, "D: a late duplicate changed the target"

    async def _deliver(self, applying: ApplyEvent, message: Any) -> None:
        async with self.bench.target.session(TARGET) as session:
            with suppress(KilledError):
                await applying(message.lane, Held(self.bench, message), session)
