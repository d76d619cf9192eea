"""Playing a schedule: its steps, each looked at by the referee; then everything drains within a bounded time."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from tests.properties.protocol.faults import Faults
from tests.properties.protocol.gates import Process
from tests.properties.protocol.processes import Extractor, Loader, Relay
from tests.properties.protocol.referee import BrokenPromiseError, Referee
from tests.properties.protocol.schedule import Act, Schedule
from tests.properties.protocol.world import KEYS, LATE, NAME, World

from qupersync_extractor.domain.planning import ForcedMode
from qupersync_loader.application.baseline import BaselineKeeper
from qupersync_shared.kernel.errors import QupersyncError

GATES: Final = (1, 2, 6, 18, None, None, 400, 400)  # None: to just before the next effect
SECONDS: Final = (1, 4, 4, 9, 16, 16, 35, 61)
ROUND_SECONDS: Final = 65.0
ROUNDS: Final = 24
DUPLICATES: Final = 6
RESENDS: Final = 4  # of a lane, until it rests: each of two loaders may ask, and ask again after a minute


@dataclass(slots=True)
class _Late:
    """A row that a transaction has written and not committed yet."""

    transaction: Any
    number: int
    due: float


def play(schedule: Schedule, *, tell: Callable[[str], None] = lambda _: None) -> None:
    """BrokenPromiseError if a promise does not hold; `tell` hears what happens."""
    run = _Run(schedule, tell)
    try:
        run.play()
    except BrokenPromiseError:
        raise
    except Exception as error:
        raise BrokenPromiseError(f"defect: {error!r}") from error
    finally:
        run.end()


class _Run:
    def __init__(self, schedule: Schedule, tell: Callable[[str], None]) -> None:
        self._schedule = schedule
        self._tell = tell
        world = self._world = World(schedule.setting)
        self._referee = Referee(world, tell)
        self._processes: list[Process] = []
        self._keepers: dict[str, BaselineKeeper] = {}
        self._start(1, 2)
        self._faults = Faults(world, self._referee, self._processes)
        self._late: list[_Late] = []
        self._redriven: set[tuple[str, UUID]] = set()

    def _start(self, *numbers: int) -> None:
        """An extractor, a relay and each group's loader under each of these numbers."""
        world, referee = self._world, self._referee
        self._extractors = [Extractor(world, referee, f"extractor {number}") for number in numbers]
        self._relays = [Relay(world, referee, f"relay {number}") for number in numbers]
        self._loaders = [
            Loader(world, referee, group, f"loader {group.name} {number}")
            for group in world.groups
            for number in numbers
        ]
        self._processes += [actor.process for actor in (*self._extractors, *self._relays, *self._loaders)]
        self._keepers |= {loader.process.name: loader.keeper() for loader in self._loaders}

    def play(self) -> None:
        world = self._world
        world.loop.complete(world.registry.register(NAME, world.setting.lanes))
        self._write(range(KEYS - 2))
        if world.setting.begun:
            self._round(self._extractors[0])
        for act, number in self._schedule.steps:
            if act is not Act.NOTHING:
                self._tell(f"{act}:{number}")
                self._act(act, number)
                self._look()
        self._drain()

    def end(self) -> None:
        for process in (*self._processes, *self._faults.passing):
            process.kill()
        self._world.loop.close()

    def _look(self) -> None:
        for process in (*self._processes, *self._faults.passing):
            defect = process.defect()
            if defect is not None and not isinstance(defect, QupersyncError):
                raise BrokenPromiseError(f"defect: {process.name}: {defect!r}") from defect
        self._referee.look()

    # ------------------------------------------------------------------------------------------------------------ acts

    def _act(self, act: Act, number: int) -> None:  # one line an act
        match act:
            case Act.WRITE:
                count = 2 * self._schedule.setting.page_rows + 1 if number % 4 == 0 else 1
                self._write([(number // 4 + index) % KEYS for index in range(count)])
            case Act.DELETE:
                self._delete(number % KEYS)
            case Act.BEGIN_LATE:
                self._begin_late(number % KEYS, number // KEYS)
            case Act.COMMIT_LATE:
                if self._late:
                    self._commit(self._late[number % len(self._late)])
            case Act.TIME:
                self._pass_time(SECONDS[number % len(SECONDS)])
            case Act.EXTRACT:
                self._extract(number)
            case Act.RELAY:
                relay = self._relays[number % 2]
                if not relay.process.busy:
                    relay.begin(backwards=bool(number // 16 % 2))
                relay.process.step(GATES[number // 2 % 8])
            case Act.LOAD:
                loader = self._loaders[number % len(self._loaders)]
                if not loader.process.busy:
                    loader.begin(backwards=bool(number // 32 % 2))
                loader.process.step(GATES[number // 4 % 8])
            case Act.BEAT:
                self._beat()
            case Act.KEEP:
                self._keep(self._loaders[number % len(self._loaders)])
            case Act.ASK:
                self._ask(restart=bool(number % 2))
            case Act.KILL:
                self._kill(self._processes[number % len(self._processes)])
            case Act.CANCEL:
                self._processes[number % len(self._processes)].cancel()
            case _:
                self._faults.strike(act, number)

    def _extract(self, number: int) -> None:
        extractor = self._extractors[number % 2]
        manner = number // 16
        if not extractor.process.busy:
            forced = ForcedMode.SNAPSHOT if manner < 3 else ForcedMode.INCREMENTAL if manner < 5 else None
            extractor.begin(forced=forced, interrupting=bool(manner % 3), beating=manner == 5)
        extractor.process.step(GATES[number // 2 % 8], pick=manner % 3)

    def _kill(self, process: Process) -> None:
        process.kill()
        loader = next((one for one in self._loaders if one.process is process), None)
        if loader is not None:
            self._keepers[process.name] = loader.keeper()

    def _beat(self) -> None:
        for group in self._world.groups:
            if group.target.store.down is None:
                for state in self._world.loop.complete(group.target.states(group.name)).values():
                    for lane in state.watermarks.values():
                        self._world.progress.report(lane)

    def _keep(self, loader: Loader) -> None:
        async def look() -> None:
            states = await loader.group.target.states(loader.group.name)
            lanes = [(loader.defined(), lane) for lane in self._world.lanes]
            awaited = {(loader.defined(), lane): log for lane, log in loader.awaited().items()}
            await self._keepers[loader.process.name].look(lanes, states, awaited)

        self._faults.go(look())

    def _ask(self, *, restart: bool) -> None:
        self._faults.go(self._world.registry.wish_snapshot(NAME, reason="somebody asks", restart=restart))

    # ---------------------------------------------------------------------------------------------------------- source

    def _write(self, numbers: Any) -> None:
        """Rows are written and committed now, in one moment."""
        held = {late.number for late in self._late}
        for number in numbers:
            if number not in held:
                self._put(number, self._row(number))

    def _row(self, number: int) -> dict[str, Any]:
        return {"id": number, "version": self._referee.next_version(), "updated_at": self._world.source.now}

    def _put(self, number: int, row: dict[str, Any]) -> None:
        self._world.table.upsert(["id"], row)
        self._referee.note_commit(number, row["version"])

    def _delete(self, number: int) -> None:
        held = {late.number for late in self._late}
        if number not in held and self._world.table.delete(lambda row: row["id"] == number):
            self._referee.note_commit(number, None)

    def _begin_late(self, number: int, patience: int) -> None:
        if any(late.number == number for late in self._late):
            return
        transaction, row = self._world.source.begin(), self._row(number)
        transaction.do(lambda: self._put(number, row))
        due = self._world.loop.time() + min(LATE.total_seconds(), 4 + 3 * patience)
        self._late.append(_Late(transaction, number, due))

    def _commit(self, late: _Late) -> None:
        self._late.remove(late)
        late.transaction.commit()

    def _pass_time(self, seconds: float) -> None:
        """Late transactions commit when they are due, so time stops there on its way."""
        world, ends = self._world, self._world.loop.time() + seconds
        while world.loop.time() < ends:
            stops = [ends, *(late.due for late in self._late)]
            step = max(0.0, min(stops) - world.loop.time())
            world.source.advance(timedelta(seconds=step))
            world.loop.pass_time(step)
            for late in [late for late in self._late if late.due <= world.loop.time()]:
                self._commit(late)
        for process in (*self._processes, *self._faults.passing):
            for transaction in process.life.transactions:
                transaction.expire()
        world.loop.settle()

    # ----------------------------------------------------------------------------------------------------------- drain

    def _drain(self) -> None:
        """Nothing goes wrong any more; whoever stood still goes on, now or after all else has come to rest."""
        world = self._world
        world.calm()
        self._tell("drain")
        if self._schedule.setting.left_frozen:
            self._start(3, 4)  # others take over
        else:
            self._thaw()
        for late in list(self._late):
            self._commit(late)
        self._come_to_rest(deletes=False)
        if self._schedule.setting.left_frozen:
            self._thaw()
            self._come_to_rest(deletes=False)
        self._ask(restart=True)
        self._come_to_rest(deletes=True)
        self._deliver_again()

    def _thaw(self) -> None:
        for process in self._processes:
            process.finish()
            self._look()
        self._pass_time(ROUND_SECONDS)  # for locks that were waited for
        for process in self._processes:
            process.finish()
            self._look()

    def _round(self, extractor: Extractor) -> None:
        """One extractor and everybody after it goes on until nothing is left to do."""
        for actor in (extractor, *self._relays, *self._loaders, *self._loaders):
            if not actor.process.busy:
                actor.begin()
            actor.process.finish()
            self._look()

    def _make_good_what_was_parked(self) -> None:
        """What needs a person: a snapshot makes good what was damaged, and what no outbox had any more."""
        stores = [group.target.store.pipelines.get(NAME) for group in self._world.groups]
        parked = {
            (group.name, letter.event_id)
            for group, known in zip(self._world.groups, stores, strict=True)
            if known is not None
            for letter in known.letters
            if letter.resolution is None
        }
        if parked - self._redriven:
            self._redriven |= parked
            self._ask(restart=True)

    def _come_to_rest(self, *, deletes: bool) -> None:
        world, since = self._world, self._referee.changed_at
        world.asked.clear()
        for number in range(ROUNDS):
            self._make_good_what_was_parked()  # also what is found damaged only now
            self._pass_time(ROUND_SECONDS)
            self._round(self._extractors[number % 2])
            self._beat()
            for loader in self._loaders:
                self._keep(loader)
                self._faults.go(loader.group.target.tidy([loader.defined()], keep_days=30))
            self._look()
            if self._referee.at_rest(since=since, deletes=deletes):
                break
        else:
            state = world.store.pipelines[NAME].state
            raise BrokenPromiseError(
                f"L: nothing rests after {ROUNDS} minutes: everything up to {since:%H:%M:%S} is to be claimed; "
                f"log {state.log}, sequence {state.sequence}, wish {state.snapshot_wish}; "
                + "; ".join(self._referee.claims())
            )
        self._referee.check_equal(deletes=deletes)
        greedy = {lane: times for lane, times in world.asked.items() if times > RESENDS}
        if greedy:
            raise BrokenPromiseError(f"B: resends were asked for again and again: {greedy}")

    def _deliver_again(self) -> None:
        """Promise D: duplicates, however late."""
        world = self._world
        ever = world.stream.ever
        for group in world.groups:
            before = world.content(group), self._referee.claims()
            for message in ever[:: max(1, len(ever) // DUPLICATES)]:
                self._faults.deliver(group, message)
            self._look()
            if (world.content(group), self._referee.claims()) != before:
                raise BrokenPromiseError("D: a late duplicate changes the target")
