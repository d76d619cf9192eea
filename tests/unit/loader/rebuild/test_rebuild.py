"""A rebuild over the in-memory target and stream: beside live load, with gaps and damage, alone, and refused."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from tests.conformance.loader.events import Extractor, ints, people
from tests.unit.loader.rebuild.rig import SHORT, Rig, until

from qupersync_loader.application.rebuild.telling import Began, Compared, InPhase, Told, Waits
from qupersync_loader.application.shadows import HinderedError, Obstacle, Phase, Way
from qupersync_loader.domain.pipeline import OnBadRow
from qupersync_shared.kernel.errors import ConflictError, LeaseLostError, QupersyncError, TransientError
from qupersync_shared.kernel.ids import Lane


async def _loaded(**changes: object) -> Rig:
    rig = Rig(**changes)
    await rig.snapshot(*range(1, 21))
    await rig.both(rig.source.incremental(people(3, 4, 30, name="new")))
    return rig


async def test_a_level_shadow_takes_the_live_tables_place() -> None:
    rig = await _loaded()
    before, marks = rig.rows(), rig.marks()
    rebuilt = await rig.rebuild()()
    assert (rebuilt.phase, rebuilt.comparison.equal) == (Phase.SWAPPED, True)
    assert rebuilt.comparison.live_rows == rebuilt.comparison.shadow_rows == 21
    assert (rig.rows(), rig.marks()) == (before, marks)
    assert rig.rows()[3] == "new3"
    assert [one.phase for one in rig.told if isinstance(one, InPhase)] == [
        Phase.READING,
        Phase.COMPARING,
        Phase.SWAPPING,
    ]
    assert not rig.target.hidden
    await rig.both(rig.source.incremental(people(5, name="later")))
    assert rig.rows()[5] == "later5", "live loading goes on in the new table"


async def test_it_follows_a_live_table_that_goes_on() -> None:
    rig = await _loaded()
    stop = asyncio.Event()

    async def live() -> None:
        number = 100
        while not stop.is_set():
            number += 1
            await rig.both(rig.source.incremental(people(number)))

    task = asyncio.create_task(live())
    rebuilt = await rig.rebuild()()
    stop.set()
    await task
    assert rebuilt.phase is Phase.SWAPPED
    assert rebuilt.comparison.equal
    assert len(rig.rows()) == 21 + rig.source.sequence - 3


async def test_a_lane_never_goes_beyond_the_live_lane_that_stands_still() -> None:
    rig = await _loaded()
    rig.publish(rig.source.incremental(people(7, name="unloaded")))
    rebuilt = await rig.rebuild(swap=False)()
    assert rebuilt.phase is Phase.KEPT
    assert rig.shadow_rows()[7] == "n7"
    assert rig.shadow_rows() == rig.rows()


async def test_resent_copies_behind_a_gap_are_taken() -> None:
    rig = await _loaded()
    lost, later = rig.source.incremental(people(1, name="lost")), rig.source.incremental(people(2, name="later"))
    rig.publish(later)
    rig.publish(lost, later, generation=1)
    await rig.load(lost, later)
    rebuilt = await rig.rebuild()()
    assert rebuilt.comparison.equal
    assert (rig.rows()[1], rig.rows()[2]) == ("lost1", "later2")


async def test_an_event_that_is_damaged_in_every_copy_is_parked_as_the_live_lane_parked_it() -> None:
    rig = await _loaded()
    rig.apply._unusable._commands.lacks()  # type: ignore[attr-defined]
    broken = [replace(event, body=event.body[:-9]) for event in rig.source.incremental(people(1, name="damaged"))]
    await rig.both(broken)
    await rig.both(rig.source.incremental(people(2, name="later")))
    rebuilt = await rig.rebuild()()
    assert rebuilt.phase is Phase.SWAPPED
    assert rig.rows()[2] == "later2"
    assert len(rig.target.store.pipelines[rig.pipeline.name].letters) == 2


async def test_a_stream_that_is_purged_while_it_is_read_ends_with_a_clear_error_and_the_shadow_stays() -> None:
    rig = await _loaded()
    for n in range(5):
        await rig.both(rig.source.incremental(people(200 + n)))
    begun = rig.history.events[2 * rig.pipeline.lanes].place

    def lose(told: Told) -> None:
        if isinstance(told, Began):
            for lane in range(rig.pipeline.lanes):
                rig.history.purge(Lane(lane), below=begun + 4)

    rig.on_told = lose
    with pytest.raises(QupersyncError, match="no longer has what follows") as refused:
        await rig.rebuild()()
    assert "trigger a snapshot" in refused.value.cure
    assert rig.shadows.known
    rig.on_told = lambda _: None
    await rig.snapshot(*range(1, 11), name="again")
    rebuilt = await rig.rebuild()()
    assert rebuilt.comparison.equal
    assert set(rig.rows()) == set(range(1, 11))


async def test_a_lane_whose_events_were_purged_begins_again_with_a_later_snapshot() -> None:
    rig = await _loaded()

    def lose(told: Told) -> None:
        if isinstance(told, Began):
            for lane in range(rig.pipeline.lanes):
                rig.history.purge(Lane(lane), below=rig.last_place() + 1)

    rig.on_told = lose
    task = asyncio.create_task(rig.rebuild(patience=replace(SHORT, standstill_seconds=30))())
    await until(lambda: any(isinstance(one, InPhase) for one in rig.told))
    await rig.snapshot(*range(1, 16), name="again")
    rebuilt = await task
    assert rebuilt.comparison.equal
    assert rig.rows() == {n: f"again{n}" for n in range(1, 16)}


async def test_an_event_that_the_shadow_must_not_take_ends_it_or_is_left_behind_for_a_later_snapshot() -> None:
    rig = await _loaded(on_bad_row=OnBadRow.HALT)
    rig.target.store.refuse = lambda row: "not any more" if row["id"] == 30 else None
    with pytest.raises(QupersyncError, match="not any more") as refused:
        await rig.rebuild()()
    assert "trigger a snapshot" in refused.value.cure
    loading: list[asyncio.Task[None]] = []

    def say_all_again(told: Told) -> None:
        if isinstance(told, Began):
            pages = [rig.source.page(people(1, 2), upto=ints(5)), rig.source.page(people(9), after=ints(5))]
            rig.publish(*pages)
            loading.append(asyncio.create_task(rig.load(*pages)))

    rig.on_told = say_all_again
    rebuilt = await rig.rebuild()()
    await asyncio.gather(*loading)
    assert rebuilt.comparison.equal
    assert rig.rows() == {1: "n1", 2: "n2", 9: "n9"}


async def test_a_target_that_is_away_for_a_while_is_waited_for() -> None:
    rig = await _loaded()

    def go_away(told: Told) -> None:
        if isinstance(told, Began):
            rig.shadows.away = 3
            rig.target.away = 3

    rig.on_told = go_away
    rebuilt = await rig.rebuild(patience=replace(SHORT, trouble_seconds=60))()
    assert rebuilt.phase is Phase.SWAPPED
    assert (rig.shadows.away, rig.target.away) == (0, 0)


async def test_a_target_that_stays_away_ends_it_and_the_shadow_stays() -> None:
    rig = await _loaded()

    def go_away(told: Told) -> None:
        if isinstance(told, Began):
            rig.target.away = 10_000

    rig.on_told = go_away
    with pytest.raises(QupersyncError, match="is away"):
        await rig.rebuild()()
    assert rig.shadows.known
    rig.target.away, rig.on_told = 0, lambda _: None
    assert (await rig.rebuild()()).phase is Phase.SWAPPED


async def test_a_claim_that_was_lost_ends_it() -> None:
    rig = await _loaded()

    def lose(told: Told) -> None:
        if isinstance(told, Compared):
            rig.shadows.lost = True

    rig.on_told = lose
    with pytest.raises(LeaseLostError):
        await rig.rebuild()()
    assert rig.shadows.known


async def test_a_greater_log_with_other_lanes_that_comes_meanwhile() -> None:
    rig = await _loaded()
    before = rig.source
    rig.source = Extractor(lanes=3, log=2)
    await rig.snapshot(*range(1, 12), name="log2")
    rig.source = before
    rebuilt = await rig.rebuild()()
    assert rebuilt.comparison.equal
    assert rig.rows() == {n: f"log2{n}" for n in range(1, 12)}
    assert set(rig.marks()) == {0, 1, 2}


async def test_damage_is_found_and_named_and_nothing_changes() -> None:
    rig = await _loaded()
    rig.damage(5, name="altered by hand")
    rig.lose(6)
    rebuilt = await rig.rebuild()()
    assert rebuilt.phase is Phase.DIFFERENT
    named = [key for one in rebuilt.comparison.differences for key in one.keys]
    assert len(named) == 2
    assert rig.rows()[5] == "altered by hand"
    accepted = await rig.rebuild(accept_difference=True)()
    assert accepted.phase is Phase.SWAPPED
    assert (rig.rows()[5], rig.rows()[6]) == ("n5", "n6")
    began = [one for one in rig.told if isinstance(one, Began)]
    assert [one.resumed for one in began] == [False, True]


async def test_quarantined_rows_are_no_difference() -> None:
    rig = await _loaded()
    rig.target.store.refuse = lambda row: "no" if row["id"] == 50 else None
    await rig.both(rig.source.incremental(people(50, 51)))
    rebuilt = await rig.rebuild()()
    assert rebuilt.comparison.equal
    assert rebuilt.comparison.excepted_keys == 1
    assert [row.resolution for row in rig.target.store.pipelines[rig.pipeline.name].quarantine] == [None]


async def test_obstacles_are_named_before_anything_is_read_and_a_merge_passes_them() -> None:
    rig = await _loaded()
    rig.shadows.obstacles = (Obstacle(what="a view of somebody else", cure="drop it"), Obstacle(what="2", cure="3"))
    with pytest.raises(HinderedError, match=r"a view of somebody else \(drop it\); 2 \(3\).*--merge"):
        await rig.rebuild()()
    assert not rig.shadows.known
    rebuilt = await rig.rebuild(way=Way.MERGE)()
    assert rebuilt.phase is Phase.MERGED


async def test_readers_who_do_not_let_go_are_waited_for_while_loading_goes_on() -> None:
    rig = await _loaded()
    rig.shadows.busy = 3
    loads = []

    def go_on(told: Told) -> None:
        if isinstance(told, Waits):
            loads.append(asyncio.ensure_future(rig.both(rig.source.incremental(people(60 + len(loads))))))

    rig.on_told = go_on
    rebuilt = await rig.rebuild()()
    assert rebuilt.phase is Phase.SWAPPED
    await asyncio.gather(*loads)
    assert {60, 61, 62} <= set(rig.rows())


async def test_it_gives_up_when_readers_never_let_go_and_the_shadow_stays() -> None:
    rig = await _loaded()
    rig.shadows.busy = 10_000
    with pytest.raises(TransientError, match=r"readers do not let go.*shadow is kept"):
        await rig.rebuild(patience=replace(SHORT, wait_lock_seconds=0.05))()
    assert rig.shadows.known
    rig.shadows.busy = 0
    assert (await rig.rebuild()()).phase is Phase.SWAPPED


async def test_it_lets_go_of_loaders_whom_it_cannot_catch_up_with_in_time() -> None:
    rig = await _loaded()
    with pytest.raises(TransientError, match="too fast"):
        await rig.rebuild(patience=replace(SHORT, hold_seconds=0, wait_lock_seconds=0.05))()
    await rig.both(rig.source.incremental(people(31)))
    assert 31 in rig.rows(), "loaders are not held any more"


async def test_two_rebuilds_of_one_pipeline_exclude_each_other() -> None:
    rig = await _loaded()
    second: list[BaseException] = []

    def meddle(told: Told) -> None:
        if isinstance(told, Compared):
            second.append(_failure_of(rig))

    rig.on_told = meddle
    await rig.rebuild()()
    assert [type(error) for error in second] == [ConflictError]


def _failure_of(rig: Rig) -> BaseException:
    """What a claim says now, at this very step of another one."""
    claim = rig.shadows.claim(rig.pipeline).__aenter__()
    with suppress(StopIteration):
        try:
            claim.send(None)
        except ConflictError as error:
            return error
    raise AssertionError("it was claimed twice")


async def test_without_a_whole_snapshot_or_anything_loaded_it_says_what_to_do() -> None:
    rig = Rig()
    rig.publish(rig.source.page(people(1, 2, 3), upto=ints(2)))
    with pytest.raises(QupersyncError, match="nothing has been loaded"):
        await rig.rebuild()()
    await rig.load(Extractor(lanes=2).page(people(1, 2, 3), upto=ints(2)))
    with pytest.raises(QupersyncError, match="--mode snapshot"):
        await rig.rebuild()()


async def test_a_preview_changes_nothing_and_a_discard_removes_what_was_left() -> None:
    rig = await _loaded()
    preview = await rig.rebuild().preview()
    assert (preview.size.events, preview.found) == (6, None)
    assert not rig.target.hidden
    assert await rig.rebuild().discard() is None
    await rig.rebuild(swap=False)()
    found = await rig.rebuild().discard()
    assert found is not None
    assert found.phase is Phase.KEPT
    assert not rig.target.hidden


async def test_a_wish_to_end_during_the_swap_is_granted_after_it() -> None:
    rig = await _loaded()
    task = asyncio.create_task(rig.rebuild()())
    await until(lambda: Phase.SWAPPING in rig.shadows.phases)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    swapped = not rig.shadows.known
    assert swapped is (Phase.SWAPPED in rig.shadows.phases)
    if not swapped:
        assert (await rig.rebuild()()).phase is Phase.SWAPPED
