"""What a lane was last answered lasts until the lane really goes on: late duplicates and strangers change nothing."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.conformance.loader.events import SentDelivery, pipeline

from qupersync_loader.application.loader import Loader
from qupersync_loader.application.outcome import Ack, Cause, Nak
from qupersync_loader.application.ports import Backlog, Parked, PipelineState
from qupersync_loader.application.rotation import LaneRef, Rotation
from qupersync_loader.application.serve import Slots
from qupersync_loader.application.troubles import Troubles, lane_place
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.kernel.ids import Lane, Log, uuid7
from qupersync_shared.runtime.lifecycle import Stop

REF: LaneRef = (pipeline(), Lane(0))
BEGUN = LaneProgress(
    group="main", pipeline="people", lane=0, lanes=1, log=1, sequence=1, event_id=uuid7(), applied_at=datetime.now(UTC)
)
STUCK = (Cause.STALLED, Cause.FORKED, Cause.RESENT, Cause.AWAITS_BASELINE)


class Feed:
    def __init__(self, *, pending: int = 0) -> None:
        self.pending = pending
        self.defects = 0

    async def discover(self, _pipeline: Any) -> frozenset[Lane]:
        return frozenset({Lane(0)})

    async def backlog(self, _pipeline: Any, _lane: Lane) -> Backlog:
        if self.defects:
            self.defects -= 1
            raise AttributeError("'NoneType' object has no attribute 'write'")
        return Backlog(pending=self.pending, unacknowledged=0)


class Quiet:
    """A reporter and a keeper of baselines that have nothing to say."""

    async def report(self, _states: Any) -> None: ...

    async def withdraw(self) -> None: ...

    async def look(self, _lanes: Any, _states: Any) -> None: ...


class Bench:
    def __init__(self, feed: Feed, state: PipelineState | None = None) -> None:
        self.troubles = Troubles()
        self.others: dict[str, PipelineState] = {}
        self.state = state or PipelineState(log=Log(1), lanes=1, watermarks={Lane(0): BEGUN})
        rotation = Rotation(1)
        self.slots = Slots(
            target=self,  # type: ignore[arg-type]  # only asked for states
            feed=feed,  # type: ignore[arg-type]
            use_cases={},
            rotation=rotation,
            troubles=self.troubles,
            ack_wait_seconds=30,
        )
        self.loader = Loader(
            group=REF[0].group,
            pipelines=[REF[0]],
            target=self,  # type: ignore[arg-type]
            feed=feed,  # type: ignore[arg-type]
            slots=self.slots,
            slot_count=0,
            rotation=rotation,
            baselines=Quiet(),  # type: ignore[arg-type]
            parked=Quiet(),  # type: ignore[arg-type]
            reporter=Quiet(),  # type: ignore[arg-type]
            troubles=self.troubles,
        )

    async def states(self, _group: Any) -> Any:
        return {REF[0].name: self.state, **self.others}

    async def answer(self, outcome: Ack | Nak) -> None:
        await self.slots._answer(REF, SentDelivery(headers={}, body=b""), outcome)

    @property
    def trouble(self) -> str | None:
        return self.troubles.reason(REF[0].name, lane_place(Lane(0)))


@pytest.mark.parametrize("cause", STUCK)
@pytest.mark.parametrize("passing", [Cause.FOREIGN, Cause.ALREADY_APPLIED])
async def test_a_stuck_lane_stays_stuck_whatever_passes_by(cause: Cause, passing: Cause) -> None:
    bench = Bench(Feed())
    await bench.answer(Ack(cause=cause, trouble="stuck"))
    await bench.answer(Ack(cause=passing))
    assert bench.trouble == "stuck"
    assert bench.slots.last[REF] == Ack(cause=cause, trouble="stuck")


async def test_a_redelivery_that_was_applied_ends_the_trouble_of_its_first_try() -> None:
    bench = Bench(Feed())
    await bench.answer(Nak(delay_seconds=1, reason="the answer to COMMIT was lost"))
    await bench.answer(Ack(cause=Cause.ALREADY_APPLIED))
    assert bench.trouble is None


@pytest.mark.parametrize("cause", [Cause.STALLED, Cause.FORKED, Cause.AWAITS_BASELINE])
async def test_a_drained_run_with_a_stuck_lane_is_not_clean(cause: Cause) -> None:
    bench = Bench(Feed())
    await bench.answer(Ack(cause=cause, trouble="stuck"))
    finish = await bench.loader.run_until_drained(Stop())
    assert (finish.clean, finish.reasons) == (False, ("people, stuck",))


async def test_a_lane_that_the_log_no_longer_has_is_no_trouble() -> None:
    bench = Bench(Feed(), PipelineState(log=Log(2), lanes=0))
    await bench.answer(Ack(cause=Cause.AWAITS_BASELINE, trouble="waits"))
    finish = await bench.loader.run_until_drained(Stop())
    assert (finish.clean, bench.trouble) == (True, None)


async def test_a_run_that_was_stopped_before_the_end_is_not_clean() -> None:
    stop = Stop()
    stop.request()
    finish = await Bench(Feed(pending=1)).loader.run_until_drained(stop)
    assert (finish.clean, finish.reasons) == (False, ("the run was stopped before the end",))


async def test_a_defect_in_looking_does_not_make_a_drained_run_endless() -> None:
    feed = Feed()
    feed.defects = 2
    finish = await Bench(feed).loader.run_until_drained(Stop())
    assert (finish.clean, feed.defects) == (True, 0)


async def test_a_drained_run_of_which_nothing_was_ever_loaded_is_not_clean() -> None:
    """An earlier process acknowledged what came before the baseline, and took its troubles with it."""
    finish = await Bench(Feed(), PipelineState(log=Log(1), lanes=1)).loader.run_until_drained(Stop())
    assert (finish.clean, finish.reasons) == (
        False,
        ("people, lane 0 has nothing to begin with: a snapshot is yet to come",),
    )


async def test_a_drained_run_counts_what_waits_in_its_own_pipelines_only() -> None:
    bench = Bench(Feed())
    bench.others = {"others": PipelineState(parked=Parked(quarantined=7))}
    assert (await bench.loader.run_until_drained(Stop())).clean
