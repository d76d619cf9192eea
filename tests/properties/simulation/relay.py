"""A relay process: claims lanes, publishes their records under the stream's fence, stores its cursor afterwards."""

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.properties.simulation.options import Fault

from qupersync_extractor.domain.fence import StreamTop
from qupersync_extractor.domain.records import RelayCursor
from qupersync_shared.kernel.ids import Lane

if TYPE_CHECKING:
    from tests.properties.simulation.world import World

RECORDS_MAX = 3


class Relay:
    """Cursors of claimed lanes stand in memory, and may be stale: fence and compare-and-set make it harmless."""

    def __init__(self, world: "World", name: str) -> None:
        self._world = world
        self._name = name
        self._claimed: dict[Lane, RelayCursor] = {}
        self._turns: dict[Lane, Generator[None, None, None]] = {}

    def step(self, lane: Lane) -> None:
        turn = self._turns.get(lane)
        if turn is None:
            turn = self._turns[lane] = self._turn(lane)
        try:
            next(turn)
        except StopIteration:
            del self._turns[lane]

    def crash(self) -> None:
        self._claimed.clear()
        self._turns.clear()

    def _turn(self, lane: Lane) -> Generator[None, None, None]:
        """Some records of one lane, then the cursor."""
        world = self._world
        cursor = self._claimed.get(lane)
        if cursor is None:
            steal = world.happens(Fault.LEASE_STOLEN, 0.3)
            cursor = world.database.claim(lane, self._name, world.source.now, steal=steal)
            if cursor is None:
                return
            self._claimed[lane] = cursor
            yield
        before = cursor
        for _ in range(RECORDS_MAX):
            record = world.database.next_record(lane, cursor.log, cursor.last_sequence)
            if record is None:
                break
            expected = cursor.last_stream_sequence if world.rules.stream_fence else None
            place = world.publish(record, cursor.generation, expected=expected)
            if place is None:
                yield
                cursor = world.rules.reconcile(cursor, self._top(lane, cursor))
                break
            cursor = replace(cursor, last_sequence=record.sequence, last_stream_sequence=place)
            yield
        self._claimed[lane] = cursor
        released = cursor == before and world.random.random() < 0.3
        if released or (cursor != before and not world.database.advance(cursor, self._name, world.source.now)):
            del self._claimed[lane]

    def _top(self, lane: Lane, cursor: RelayCursor) -> StreamTop | None:
        top = self._world.stream.top(lane)
        if top is None:
            return None
        record = self._world.database.by_id.get(top.event.id)
        mine = record is not None and record.log == cursor.log
        return StreamTop(
            stream_sequence=top.sequence,
            log=top.event.log,
            generation=top.generation,
            known=record.sequence if record is not None and mine else None,
        )
