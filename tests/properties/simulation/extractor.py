"""An extractor process: the use case's steps over the domain's pure functions. Between any two of them it may die.

A run is a generator: each `yield` is a place where others act, or where the process is gone for good.
"""

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.properties.simulation.database import RunFailedError
from tests.properties.simulation.events import Event, Page, lane_of
from tests.properties.simulation.options import LANES_MAX, Fault

from qupersync_extractor.domain.extraction import (
    Extraction,
    HeartbeatPage,
    IncrementalPage,
    PageKind,
    SnapshotPage,
    open_log,
)
from qupersync_extractor.domain.logs import Sighting
from qupersync_extractor.domain.planning import BeginSnapshot, ContinueSnapshot, ForcedMode
from qupersync_extractor.domain.timeline import Horizon, end_of_run
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.kernel.ids import EventId, FencingToken, Lane, SnapshotId
from qupersync_shared.kernel.positions import Key, Position, Scalar

if TYPE_CHECKING:
    from tests.properties.simulation.world import World

Step = Generator[None, None, None]
Stepped = Generator[None, None, Extraction]


class Extractor:
    def __init__(self, world: "World", name: str) -> None:
        self._world = world
        self._name = name
        self._run: Step | None = None
        self._token = FencingToken(0)

    def step(self) -> None:
        """One step of the run under way, or of the next one."""
        if self._run is None:
            self._run = self._whole_run()
        try:
            next(self._run)
        except (StopIteration, RunFailedError) as end:
            if isinstance(end, RunFailedError):
                self._world.say(f"{self._name}: run ends: {end}")
            self._world.database.release(self._token)
            self._run = None

    def crash(self) -> None:
        self._run = None

    def beat(self, token: FencingToken) -> None:
        """One empty batch under this lease, at once."""
        self._token = token
        nothing = Page(rows={}, last=True, look=self._world.source.looks)
        try:
            for _ in self._commit(HeartbeatPage(), nothing, self._world.database.state):
                pass
        except RunFailedError as end:
            self._world.say(f"{self._name}: {end}")

    # ------------------------------------------------------------------------------------------------------- a run

    def _whole_run(self) -> Step:
        world = self._world
        database = world.database
        token = database.acquire(
            self._name, world.source.now, stamp=world.stamp(), steal=world.happens(Fault.LEASE_STOLEN, 0.3)
        )
        if token is None:
            return
        self._token = token
        forced, database.requested = database.requested, None
        settled = False
        while True:
            if not settled or world.rules.log_is_settled_before_each_plan:
                yield
                forked, sightings = database.forked, self._sightings()
                yield
                state = self._settle(sightings, forked)
                settled = True
            now = world.moment(world.source.now)
            pipeline = world.options.pipeline(state.lanes)
            due = world.rules.plan(state, pipeline, fingerprint=world.fingerprint, now=now, forced=forced)
            match due:
                case BeginSnapshot(reason):
                    state = yield from self._begin_snapshot(reason, state)
                case ContinueSnapshot():
                    pass
                case _:
                    yield from self._incremental(state)
                    return
            state = yield from self._snapshot(state)
            forced = ForcedMode.INCREMENTAL if state.snapshot is None else None

    def _sightings(self) -> list[Sighting]:
        world = self._world
        tops = [world.stream.top(Lane(number)) for number in range(LANES_MAX)]
        seen = [
            Sighting(where="stream", lane=e.lane, log=e.log, sequence=e.sequence, event_id=e.id)
            for e in (top.event for top in tops if top is not None)
        ]
        return seen + list(world.progress.values())

    def _settle(self, sightings: list[Sighting], forked: object) -> Extraction:
        world = self._world
        state = world.database.lock(self._token)
        greater = world.rules.compare(state, sightings, forked=forked)
        if greater is not None:
            state = open_log(state, log=greater.log, lanes=state.lanes, reason=greater.reason)
            world.database.save(state)
            world.say(f"{self._name}: LOG {greater.log}: {greater.reason}")
        return state

    # ------------------------------------------------------------------------------------------------------ snapshot

    def _begin_snapshot(self, reason: str, known: Extraction) -> Stepped:
        world = self._world
        began, horizon = world.source.now, self._horizon()
        yield
        state = world.rules.begin_snapshot(
            self._lock_as_left(known),
            snapshot_id=SnapshotId(world.ids.next()),
            began_at=world.moment(began),
            high=None if horizon is None else horizon[0].reached,
            fingerprint=world.fingerprint,
        )
        world.database.save(state)
        world.say(f"{self._name}: snapshot: {reason}")
        return state

    def _snapshot(self, state: Extraction) -> Stepped:
        """Pages until the last, one read ahead of its predecessor's commit unless an incremental run comes between."""
        world = self._world
        under_way = state.snapshot
        if under_way is None:
            return state
        after = under_way.after
        page = self._read_keys(after)
        while True:
            interrupted = world.random.random() < 0.3
            ahead = None
            if not page.last and not (interrupted and world.rules.nothing_is_read_ahead_of_an_incremental_run):
                yield
                ahead = self._read_keys(page.upto_key)
            kind = SnapshotPage(snapshot_id=under_way.id, after=after, upto=page.upto_key)
            state = yield from self._commit(kind, page, state)
            if page.last or (state.snapshot_wish is not None and state.snapshot_wish.restart):
                return state
            if interrupted:
                state = yield from self._incremental(state)
                yield
            after, page = page.upto_key, ahead or self._read_keys(page.upto_key)

    def _read_keys(self, after: Key | None) -> Page:
        self._may_fail()
        return self._world.source.read_keys(after)

    # ---------------------------------------------------------------------------------------------------- incremental

    def _horizon(self) -> tuple[Horizon, int] | None:
        return self._world.source.horizon(time_zone=self._world.options.pipeline(1).cursor_time_zone)

    def _incremental(self, state: Extraction) -> Stepped:
        world = self._world
        found = self._horizon()
        if found is None:
            return state
        horizon, high_tick = found
        pipeline = world.options.pipeline(state.lanes)
        run = world.rules.plan_incremental(state, pipeline, horizon, high_time=world.moment(high_tick))
        last_kind = IncrementalPage(
            upto=end_of_run(horizon.reached), cursor="updated_at", sweep=run.sweep, completes_at=run.completes_at
        )
        yield
        page = self._read_after(run.after, horizon.high)
        if not page.rows:
            return (yield from self._finish_empty(last_kind, page, state))
        while True:
            ahead = None
            if not page.last:
                yield
                ahead = self._read_after(page.upto_position, horizon.high)
            kind = last_kind if world.rules.horizon_is_taken_first else self._taken_at_the_end(last_kind)
            if ahead is not None and page.upto_position is not None:
                kind = IncrementalPage(upto=page.upto_position, cursor="updated_at")
            state = yield from self._commit(kind, page, state)
            if ahead is None:
                return state
            page = ahead

    def _taken_at_the_end(self, kind: IncrementalPage) -> IncrementalPage:
        """What no run may do: claim the present of its end, having read up to that of its beginning."""
        now = self._horizon()
        if now is None:
            return kind
        horizon, high_tick = now
        claimed = None if kind.completes_at is None else self._world.moment(high_tick)
        sweep = None if kind.sweep is None else replace(kind.sweep, high=horizon.high, began_at=horizon.began_at)
        return replace(kind, upto=end_of_run(horizon.reached), sweep=sweep, completes_at=claimed)

    def _read_after(self, after: Position | None, upto: Scalar) -> Page:
        self._may_fail()
        return self._world.source.read_after(after, upto)

    def _finish_empty(self, kind: IncrementalPage, page: Page, known: Extraction) -> Stepped:
        """A run that found nothing moves the cursor; once a minute it says so to the lanes."""
        world = self._world
        yield
        state = world.rules.advance(self._lock_as_left(known), kind)
        world.database.save(state)
        if state.sequence == 0 or not world.idle(state):
            return state
        return (yield from self._commit(kind, page, state))

    # ----------------------------------------------------------------------------------------------------------- commit

    def _commit(self, kind: PageKind, page: Page, state: Extraction) -> Stepped:
        """One page, one transaction: records of every lane, cursor and sequence."""
        world = self._world
        yield
        if world.happens(Fault.COMMIT_LOST, 0.15):
            world.say(f"{self._name}: commit fails")
            if world.rules.failure_discards_what_was_read_after:
                raise RunFailedError("the commit failed")
            return state
        before = self._lock_as_left(state)
        now = world.source.now
        lanes = [Lane(number) for number in range(before.lanes)]
        ids = {lane: EventId(world.ids.next()) for lane in lanes}
        after = world.database.commit_page(kind, event_ids=ids, at=now, now=now)
        events = [self._event(lane, ids[lane], before, after, kind, page) for lane in lanes]
        if not world.rules.page_in_one_transaction:
            world.database.save(after)
            yield
        world.database.add(events)
        world.database.save(after)
        world.say(f"{self._name}: page {after.log}/{after.sequence} {events[0].mode.value} {sorted(page.rows)}")
        if world.happens(Fault.COMMIT_UNKNOWN, 0.15):
            raise RunFailedError("the commit's answer is lost")
        return after

    def _lock_as_left(self, known: Extraction) -> Extraction:
        found = self._world.database.lock(self._token)
        if not self._world.rules.is_as_left(found, known):
            raise RunFailedError("the database went back")
        return found

    def _event(
        self, lane: Lane, event_id: EventId, before: Extraction, after: Extraction, kind: PageKind, page: Page
    ) -> Event:
        snapshot = kind if isinstance(kind, SnapshotPage) else None
        under_way = before.snapshot if snapshot else None
        return Event(
            id=event_id,
            lane=lane,
            lanes=after.lanes,
            log=after.log,
            sequence=after.sequence,
            previous_id=before.lane_ids.get(lane),
            mode=Mode.SNAPSHOT if snapshot else Mode.INCREMENTAL,
            snapshot_id=snapshot.snapshot_id if snapshot else None,
            first=snapshot is not None and snapshot.after is None,
            last=snapshot is not None and snapshot.upto is None,
            range_from=snapshot.after if snapshot else None,
            range_to=snapshot.upto if snapshot else None,
            rows={number: row for number, row in page.rows.items() if lane_of(number, after.lanes) == lane},
            position=after.cursor,
            honest_time=after.completed_at,
            look=page.look,
            snapshot_began=under_way.began_at if under_way else None,
        )

    def _may_fail(self) -> None:
        if self._world.happens(Fault.READ_FAILS, 0.1):
            raise RunFailedError("the read failed")


class KeepAlive:
    """Emits an empty batch for a pipeline that has been silent, between the runs of others."""

    def __init__(self, world: "World") -> None:
        self._extractor = Extractor(world, "keep-alive")
        self._world = world

    def beat(self) -> None:
        world, database = self._world, self._world.database
        if database.state.sequence == 0 or not world.idle(database.state):
            return
        token = database.acquire("keep-alive", world.source.now, stamp=world.stamp(), steal=False)
        if token is None:
            return
        self._extractor.beat(token)
        database.release(token)
