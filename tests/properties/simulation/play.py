"""Playing schedules: random steps, then everything drains, then the referee compares."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from tests.properties.simulation.events import BrokenPromiseError
from tests.properties.simulation.faults import Faults, ask
from tests.properties.simulation.invariants import check_duplicates, check_target
from tests.properties.simulation.options import Options, Pace
from tests.properties.simulation.rules import Rules
from tests.properties.simulation.world import World

DRAIN_TICKS = 400
DRAIN_PUBLISHES = 900
RESENDS = 6
STEPS_PER_RESEND = 25
_PARTS: Final = ("write", "tick", "extract", "relay", "load", "beat", "keep alive", "ask", "fault")


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule that broke a promise."""

    options: Options
    reason: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            [
                self.reason,
                *self.trace[-150:],
                f"seed {self.options.seed}, play({self.options})",
                self.reason,
            ]
        )


def play(options: Options, rules: Rules) -> Failure | None:
    """One schedule, whole; None when every promise held."""
    world = World(options, rules)
    try:
        _play(world)
    except BrokenPromiseError as broken:
        return Failure(options, str(broken), tuple(world.trace))
    return None


def shortest(options: Options, rules: Rules, *, failure: Failure) -> Failure:
    """The failing schedule with the fewest steps among those that the same seed makes when it stops earlier."""
    for steps in range(1, options.steps, max(1, options.steps // 40)):
        found = play(replace(options, steps=steps), rules)
        if found is not None:
            return found
    return failure


def first_failure(schedules: Iterable[Options], rules: Rules) -> Failure | None:
    """The first schedule that breaks a promise, shortened."""
    for options in schedules:
        failure = play(options, rules)
        if failure is not None:
            return shortest(options, rules, failure=failure)
    return None


def _play(world: World) -> None:
    faults = Faults(world)
    for _ in range(world.options.steps):
        _act(world, faults)
    world.say("--- drain")
    _drain(world, deletes=False)
    check_target(world, deletes=False)
    world.say("--- final snapshot")
    world.database.wish_snapshot(reason="the end", restart=True)
    _drain(world, deletes=True)
    check_target(world, deletes=True)
    _deliver_the_rest(world)
    check_duplicates(world)


def _act(world: World, faults: Faults) -> None:
    random = world.random
    lanes = world.lanes[: world.database.state.lanes]
    match random.choices(_PARTS, _weights(world.options.pace))[0]:
        case "write":
            world.say(world.source.write())
        case "tick":
            world.source.tick()
        case "extract":
            random.choice(world.extractors).step()
        case "relay":
            random.choice(world.relays).step(random.choice(lanes))
        case "load":
            random.choice(world.loaders).step(random.choice(lanes))
        case "beat":
            world.beat(random.choice(sorted(world.targets)))
        case "keep alive":
            world.keep_alive.beat()
        case "ask":
            ask(world)
        case _:
            faults.strike()


@cache
def _weights(pace: Pace) -> tuple[int, ...]:
    return (pace.write, pace.tick, pace.extract, pace.relay, pace.load, 3, 1, 1, pace.fault)


def _drain(world: World, *, deletes: bool) -> None:
    """No fault happens any more; everything must come to rest, with little traffic, within a bounded time."""
    world.draining = True
    publishes = world.publishes
    for number in range(DRAIN_TICKS):
        world.source.tick()
        for extractor in world.extractors:
            extractor.step()
            extractor.step()
        _relay_and_load(world)
        world.keep_alive.beat()
        for group in world.targets:
            world.beat(group)
        if number % 4 == 0 and _at_rest(world, deletes=deletes):
            break
    else:
        raise BrokenPromiseError(f"L: not drained after {DRAIN_TICKS} ticks: {world.database.state}")
    if world.publishes - publishes > DRAIN_PUBLISHES:
        raise BrokenPromiseError(f"B: {world.publishes - publishes} publishes while draining")
    if world.resends > RESENDS + world.options.steps // STEPS_PER_RESEND:
        raise BrokenPromiseError(f"B: {world.resends} resends were asked for")


def _relay_and_load(world: World) -> None:
    for lane in world.lanes:
        for relay in world.relays:
            relay.step(lane)
        for loader in world.loaders:
            for _ in range(3):
                loader.step(lane)


def _deliver_the_rest(world: World) -> None:
    """What was extracted after everything came to rest: it must change no row that was right before."""
    for _ in range(DRAIN_TICKS):
        world.source.tick()
        _relay_and_load(world)
        waiting = [
            (group, lane) for group in world.targets for lane in world.lanes if world.stream.pending(group, lane)
        ]
        if not waiting:
            break
    else:
        raise BrokenPromiseError(f"L: events stay in the stream: {waiting}")
    check_target(world, deletes=True)


def _at_rest(world: World, *, deletes: bool) -> bool:
    """Every lane says that it holds whatever was written; and, if asked for, that a later snapshot cleaned it up."""
    state, options, written = world.database.state, world.options, world.source.changed_at
    if not world.source.quiet or state.snapshot_wish is not None:
        return False
    for lane in world.lanes[: state.lanes]:
        for target in world.targets.values():
            mark = target.watermarks.get(lane)
            if mark is None or mark.log != state.log or mark.honest_time is None:
                return False
            if options.tick_of(mark.honest_time) <= written:
                return False
            lanes, cleaned = target.cleaned.get(lane, (0, None))
            if deletes and (cleaned is None or lanes != state.lanes or options.tick_of(cleaned) <= written):
                return False
    return True
