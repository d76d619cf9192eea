"""Comparing: what differs is found by few and small questions, and only what stands still is drift."""

import asyncio
from typing import Any

import pytest
from tests.unit.verifying.rig import SMALL, Rig, encoded, key, row

from qupersync_extractor.application.guarding import guard_of
from qupersync_extractor.application.source_gate import Calendar
from qupersync_extractor.application.source_turns import SourceTurns
from qupersync_extractor.application.troubles import Troubles
from qupersync_extractor.application.verifying.looking import Kind
from qupersync_extractor.application.verifying.verify import Outcome
from qupersync_extractor.domain.maintenance import Windows
from qupersync_extractor.domain.pipeline import DeletePolicy
from qupersync_extractor.domain.source_budget import SourceLimits
from qupersync_extractor.infrastructure.memory.source_use import MemorySourceUse
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_shared.contracts.verification import RangesWanted, RowsWanted, VerificationRequest
from qupersync_shared.kernel.clock import SystemClock
from qupersync_shared.kernel.errors import TerminalError


def found(outcome: Outcome) -> dict[int, tuple[Kind, tuple[str, ...]]]:
    return {int(one.key[0].text): (one.kind, one.columns) for one in outcome.drift}


async def test_equal_tables_are_told_by_their_ranges_alone() -> None:
    rig = Rig()
    rig.fill(350)
    outcome = await rig.verify()
    assert outcome.equal
    counts = outcome.counts()
    assert (counts.source_rows, counts.target_rows) == (350, 350)
    assert counts.ranges == 18  # three stretches of 5 ranges, and one of 3
    assert all(isinstance(request.wanted, RangesWanted) for request in rig.asked)
    assert rig.runs == 0
    assert outcome.unseen == ("tags",)


@pytest.mark.parametrize("count", [0, 1, 6, 7, 19, 20, 21, 100, 101, 250])
async def test_every_kind_of_difference_is_found_wherever_it_is(count: int) -> None:
    rig = Rig()
    rig.fill(count)
    expected: dict[int, Any] = {}
    for number in {0, count // 2, count - 1} - {-1} if count else set():
        rig.change(number, name="by hand", amount=None)
        expected[number] = (Kind.DIFFERENT, ("name", "amount"))
    if count > 10:
        rig.change(5)
        rig.change(6)
        expected |= {5: (Kind.MISSING, ()), 6: (Kind.MISSING, ())}
    rig.rows += [row(number) for number in (-3, count + 1000)]
    expected |= {-3: (Kind.EXTRA, ()), count + 1000: (Kind.EXTRA, ())}
    outcome = await rig.verify()
    assert found(outcome) == expected
    last = await rig.verifications.last("people", "main")  # type: ignore[arg-type]
    assert last is not None
    assert last.counts.differing == len(expected)
    assert last.told


async def test_a_comparison_takes_a_turn_for_each_statement_and_holds_none_while_it_takes_another() -> None:
    store, limits = MemoryStore(), SourceLimits(reads=1, rows_per_minute=1_000_000)
    rig = Rig()
    turns = SourceTurns(use=MemorySourceUse(store), owner="one", limits=limits, seconds=30)
    rig.guard = guard_of(Calendar(windows=Windows(), clock=SystemClock()), turns, Troubles())
    assert rig.guard is not None
    rig.fill(250)
    rig.change(30, name="by hand")
    at_once: list[int] = []
    rig.source.before_read = lambda _: at_once.append(len(store.source_reads))
    async with asyncio.timeout(20):
        outcome = await rig.verify()
    assert found(outcome) == {30: (Kind.DIFFERENT, ("name",))}
    assert set(at_once) == {1}
    await rig.guard.close()
    assert store.source_reads == {}
    assert store.source_minute is not None


async def test_a_source_that_is_empty_and_a_target_that_is() -> None:
    rig = Rig()
    rig.rows = [row(number) for number in range(30)]
    assert {kind for kind, _ in found(await rig.verify()).values()} == {Kind.EXTRA}
    rig = Rig()
    rig.fill(30)
    rig.rows = []
    assert {kind for kind, _ in found(await rig.verify()).values()} == {Kind.MISSING}


async def test_what_the_target_gets_in_time_is_no_drift() -> None:
    rig = Rig()
    rig.fill(50)
    rig.table.upsert(["id"], row(7, name="new"))

    def follow() -> None:
        rig.change(7, name="new")

    rig.follow = follow
    outcome = await rig.verify()
    assert outcome.equal
    assert rig.runs >= 1


async def test_what_changes_whenever_it_is_looked_at_is_in_motion_and_not_drift() -> None:
    rig = Rig()
    rig.fill(50)
    rig.change(9, name="by hand")
    rounds = iter(range(100))
    rig.follow = lambda: rig.table.upsert(["id"], row(9, name=f"round {next(rounds)}"))
    outcome = await rig.verify()
    assert found(outcome) == {}
    assert outcome.decided.in_motion == 1
    assert outcome.equal  # nothing is known to be wrong


async def test_a_row_that_is_written_between_two_looks_is_in_motion() -> None:
    rig = Rig()
    rig.fill(50)
    rig.change(9, name="old")
    rounds = iter(range(100))
    rig.follow = lambda: rig.change(9, name=f"late {next(rounds)}")
    outcome = await rig.verify()
    assert (found(outcome), outcome.decided.in_motion) == ({}, 1)


async def test_without_a_run_that_passes_nothing_is_said_to_drift() -> None:
    rig = Rig()
    rig.fill(50)
    rig.change(9, name="by hand")

    def stand() -> None:
        rig.source.now = rig.source.now.replace(year=2020)

    rig.follow = stand
    outcome = await rig.verify(seconds=0.1)
    assert (found(outcome), outcome.decided.undecided, outcome.equal) == ({}, 1, False)
    assert "did not reach" in str(outcome.decided.waiting_for)
    last = await rig.verifications.last("people", "main")  # type: ignore[arg-type]
    assert last is not None
    assert not last.told


async def test_what_waits_in_quarantine_or_is_withheld_is_known() -> None:
    rig = Rig()
    rig.fill(50)
    for number in (3, 4, 5):
        rig.change(number, name="old")
    rig.target.quarantined = set(encoded([3]))
    rig.withheld = frozenset(encoded([4]))
    outcome = await rig.verify()
    assert (list(found(outcome)), outcome.decided.known) == ([5], 2)


async def test_what_a_keeping_target_has_besides_is_as_it_should_be() -> None:
    rig = Rig(deletes=DeletePolicy.KEEP)
    rig.fill(60)
    rig.table.delete(lambda held: held["id"] < 30)
    rig.change(45, name="by hand")
    assert found(await rig.verify()) == {45: (Kind.DIFFERENT, ("name",))}


async def test_a_keeping_target_may_have_what_its_source_deletes_while_it_is_compared() -> None:
    rig = Rig(deletes=DeletePolicy.KEEP)
    rig.fill(60)
    rig.change(45, name="by hand")

    def delete_after_listing(request: VerificationRequest) -> None:
        if isinstance(request.wanted, RowsWanted):
            rig.table.delete(lambda held: held["id"] == 45)

    rig.before_answer = delete_after_listing
    outcome = await rig.verify()
    assert outcome.narrowed.candidates
    assert (found(outcome), outcome.equal) == ({}, True)


async def test_duplicates_of_a_key_are_compared_by_the_one_that_counts() -> None:
    rig = Rig()
    rig.fill(40)
    rig.table.insert(*(row(13, name=f"copy {number}") for number in range(12)))
    rig.change(13, name="n13")  # the greatest of them, by its whole text
    assert (await rig.verify()).equal
    rig.change(13, name="copy 5")
    assert list(found(await rig.verify())) == [13]


async def test_rounded_floats_and_json_are_compared_exactly_where_rows_are_looked_at() -> None:
    rig = Rig()
    rig.fill(30)
    rig.change(3, amount=row(3)["amount"] * (1 + 2e-16), tags='{"a":1.00}')
    assert (await rig.verify()).equal  # below the digits that sums tell
    rig.change(3, name="by hand")
    assert found(await rig.verify())[3] == (Kind.DIFFERENT, ("name", "amount"))


async def test_more_than_can_be_looked_into_is_said() -> None:
    rig = Rig()
    rig.fill(300)
    rig.rows = []
    outcome = await rig.verify()
    assert outcome.cut
    assert not outcome.equal
    assert len(outcome.drift) >= SMALL.candidates


async def test_a_target_that_was_far_behind_is_compared_again_when_it_has_caught_up() -> None:
    rig = Rig()
    rig.fill(300)
    behind, rig.rows = rig.rows, []

    def follow() -> None:
        rig.rows = behind

    rig.follow = follow
    outcome = await rig.verify()
    assert outcome.equal
    assert outcome.counts().target_rows == 300


async def test_repair_has_just_the_differing_keys_read_again() -> None:
    rig = Rig()
    rig.fill(60)
    rig.change(3, name="by hand")
    rig.change(4)
    rig.rows.append(row(1000))
    outcome = await rig.verify(repair=True)
    assert outcome.equal
    assert outcome.repaired == 3
    assert sorted(rig.rereads[0]) == sorted(encoded([3, 4, 1000]))
    assert sorted(held["id"] for held in rig.rows) == list(range(60))


async def test_repair_says_what_is_left() -> None:
    rig = Rig()
    rig.fill(60)
    rig.change(3, name="by hand")

    def spoil(request: VerificationRequest) -> None:
        del request
        rig.change(3, name="by hand, again")

    rig.before_answer = spoil
    outcome = await rig.verify(repair=True)
    assert (list(found(outcome)), outcome.repaired, len(rig.rereads)) == ([3], 0, 2)
    assert outcome.drift[0].key == key(3)


async def test_a_column_that_the_target_lacks_ends_the_comparison_with_a_reason() -> None:
    rig = Rig()
    rig.fill(10)

    async def refused(request: VerificationRequest) -> Any:
        reply = await Rig.ask(rig, request)
        return reply.model_copy(update={"refused": "public.people: there is no column 'x'", "cure": "add it"})

    rig.ask = refused  # type: ignore[method-assign]
    with pytest.raises(TerminalError, match="no column 'x'"):
        await rig.verify()
    last = await rig.verifications.last("people", "main")  # type: ignore[arg-type]
    assert last is not None
    assert "no column 'x'" in str(last.error)
