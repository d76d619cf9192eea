"""The referee: what must hold after every step, and what must hold at the end."""

from typing import TYPE_CHECKING

from tests.properties.simulation.events import BrokenPromiseError, Event, Message, lane_of
from tests.properties.simulation.options import KEYS

from qupersync_loader.domain.judge import Apply, Verdict
from qupersync_shared.kernel.ids import Generation, Lane, StreamSequence

if TYPE_CHECKING:
    from tests.properties.simulation.world import World


def check_claims(world: "World", group: str, lane: Lane) -> None:
    """Promise W: a version committed before the honest time, and still the source's, stands in the target; and what was
    deleted before the last whole snapshot began does not.
    """
    target, source = world.targets[group], world.source
    watermark = target.watermarks[lane]
    keys = [number for number in range(len(KEYS)) if lane_of(number, watermark.lanes) == lane]
    if watermark.honest_time is not None:
        tick = world.options.tick_of(watermark.honest_time)
        for number in keys:
            row = source.row_before(number, tick)
            stored = target.table.get(number)
            if row is not None and source.rows.get(number) == row and (stored is None or stored.row != row):
                raise BrokenPromiseError(
                    f"W: lane {lane} of group {group} claims everything before tick {tick}, but key {number} is "
                    f"{stored and stored.row}, not {row}"
                )
    lanes, cleaned = target.cleaned.get(lane, (0, None))
    if cleaned is not None and lanes == watermark.lanes:
        tick = world.options.tick_of(cleaned)
        for number in keys:
            if number in target.table and source.absent_since(number, tick):
                raise BrokenPromiseError(f"W: key {number}, deleted before tick {tick}, is back in group {group}")


def check_no_loss_was_seen(world: "World", event: Event, verdict: Verdict) -> None:
    """As long as nothing outside loses anything, the stream has every event, once, in order."""
    if world.options.lossless:
        raise BrokenPromiseError(f"order: {verdict} at {event}, though nothing was lost")


def check_published(world: "World", event: Event, generation: Generation, place: StreamSequence) -> None:
    """The fence: without losses an event is published once."""
    key = (event.id, generation)
    if world.options.lossless and key in world.published_as:
        raise BrokenPromiseError(f"order: {event} stands in the stream at {world.published_as[key]} and {place}")
    world.published_as[key] = place


def check_target(world: "World", *, deletes: bool) -> None:
    """Promise L: every row of the source stands in every target; after a snapshot, nothing else does."""
    for group, target in world.targets.items():
        have = target.content()
        wrong = {
            number: (row, have.get(number)) for number, row in world.source.rows.items() if have.get(number) != row
        }
        if wrong:
            raise BrokenPromiseError(f"L: group {group}: key → (source, target): {wrong}")
        extra = sorted(set(have) - set(world.source.rows))
        if extra and deletes:
            raise BrokenPromiseError(f"L: group {group} keeps deleted keys {extra}")


def check_duplicates(world: "World") -> None:
    """Promise D: every event that ever was applied here or still can come, delivered once more, changes nothing."""
    for group, target in world.targets.items():
        before, watermarks = target.content(), dict(target.watermarks)
        for event in world.deliverable(group):
            message = Message(sequence=StreamSequence(0), event=event, generation=Generation(0))
            if isinstance(target.apply(message), Apply):
                raise BrokenPromiseError(f"D: group {group} applies once more: {event}")
        if (target.content(), target.watermarks) != (before, watermarks):
            raise BrokenPromiseError(f"D: duplicates change group {group}")
