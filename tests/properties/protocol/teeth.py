"""The protocol, broken on purpose in one rule each: the simulation is worth what it notices of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.properties.protocol import breaking, broken, gates
from tests.properties.protocol.breaking import Break
from tests.properties.protocol.schedule import Act, Pace

from qupersync_extractor.application.committing import PageCommitter
from qupersync_extractor.application.reading import PageReader
from qupersync_extractor.application.running import is_silent
from qupersync_extractor.domain.extraction import commit_page, is_as_left
from qupersync_extractor.domain.fence import reconcile
from qupersync_extractor.domain.logs import compare
from qupersync_extractor.domain.planning import plan_incremental
from qupersync_extractor.domain.timeline import horizon
from qupersync_extractor.infrastructure.memory.outbox import MemoryOutboxReader
from qupersync_extractor.infrastructure.memory.relay_cursors import MemoryRelayCursors
from qupersync_extractor.infrastructure.memory.source import MemorySource
from qupersync_extractor.infrastructure.memory.stream import MemoryStream
from qupersync_extractor.infrastructure.memory.unit_of_work import MemoryUnitOfWork
from qupersync_loader.application.baseline import BaselineKeeper, _is_left_behind
from qupersync_loader.application.resends import Resends
from qupersync_loader.application.serve import Slots
from qupersync_loader.application.unusable import UnusableEvents
from qupersync_loader.domain.judge import judge
from qupersync_loader.domain.watermark import next_watermark
from qupersync_loader.infrastructure.memory.work import MemoryWork, in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class Tooth:
    """`rule` is what the protocol asks for, `how` the way it is broken, `marked` whether the design marks it as one
    that simulation found. The faults provoke it; pace and settings are where it matters.
    """

    rule: str
    how: str
    apply: Break
    faults: frozenset[Act] = frozenset()
    pace: Pace | None = None
    setting: Mapping[str, object] = field(default_factory=dict)
    marked: bool = False


_LOSSES: Final = frozenset({Act.LOSE_MESSAGES, Act.REDELIVER})
_LOST_ACKS: Final = frozenset({Act.ACK_LOST})
_ROLLED_BACK: Final = frozenset({Act.RESTORE_EXTRACTOR, Act.RESTORE_STREAM})
_LATE: Final = frozenset({Act.LATE_DUPLICATE})
_VISIBLE: Final = {"sweeps": False, "snapshots": False}
_SWEEPING: Final = {"sweeps": True, "snapshots": False}

TEETH: Final = (
    Tooth(
        rule="Pages commit in the order of their reads, each after the previous commit is confirmed",
        how="a commit that failed is passed over, and the next page commits",
        apply=breaking.method(PageCommitter, "commit", broken.commit_failures_are_passed_over),
        faults=frozenset({Act.COMMIT_UNSURE}),
        setting=_VISIBLE,
        marked=True,
        pace=Pace.EXTRACTING,
    ),
    Tooth(
        rule="Nothing is read ahead of a page that is yet to be read and committed",
        how="a snapshot's next page is read before the incremental run between the two",
        apply=breaking.method(PageReader, "read", broken.pages_are_read_ahead_of_others),
        marked=True,
        pace=Pace.EXTRACTING,
    ),
    Tooth(
        rule="Records and cursor commit together",
        how="records are stored outside the transaction",
        apply=breaking.method(MemoryUnitOfWork, "stage_records", broken.records_are_stored_at_once),
        pace=Pace.EXTRACTING,
    ),
    Tooth(
        rule="The page transaction checks the fencing token",
        how="whoever once had the lease commits",
        apply=breaking.both(
            breaking.method(MemoryUnitOfWork, "lock", broken.any_token_may_commit),
            breaking.function(is_as_left, broken.whatever_is_found_is_gone_on_with),
        ),
        pace=Pace.EXTRACTING,
    ),
    Tooth(
        rule="A position is cursor value and key",
        how="pages go on after the cursor value alone",
        apply=breaking.method(MemorySource, "read", broken.pages_go_on_after_the_cursor_value),
    ),
    Tooth(
        rule="Incremental pages are read by (cursor, key)",
        how="the cursor goes by id: pages go on after the last key",
        apply=breaking.method(MemorySource, "read", broken.pages_go_on_after_the_key),
        pace=Pace.EXTRACTING,
    ),
    Tooth(
        rule="`high` stays behind the source's clock and its open transactions",
        how="`high` is the present",
        apply=breaking.function(horizon, broken.high_is_the_present),
        setting=_VISIBLE,
    ),
    Tooth(
        rule="Before the first snapshot `high` is taken and becomes the cursor",
        how="the cursor is the time of that snapshot's end",
        apply=breaking.function(commit_page, broken.the_first_cursor_is_taken_last),
        setting=_VISIBLE,
        marked=True,
    ),
    Tooth(
        rule="The lookback is swept",
        how="runs begin at the cursor",
        apply=breaking.function(plan_incremental, broken.nothing_is_swept),
        setting=_SWEEPING,
        marked=True,
    ),
    Tooth(
        rule="A sweep begins a lookback before the previous sweep's mark",
        how="it begins a lookback before the cursor",
        apply=breaking.function(plan_incremental, broken.sweeps_begin_at_the_cursor),
        setting=_SWEEPING,
        marked=True,
        pace=Pace.WRITING,
    ),
    Tooth(
        rule="A sweep proves what was committed before its `high`",
        how="it claims the moment it began",
        apply=breaking.function(plan_incremental, broken.sweeps_claim_their_beginning),
        setting=_SWEEPING,
        pace=Pace.EXTRACTING,
    ),
    Tooth(
        rule="The extractor compares itself with the stream and every group, and opens a greater log",
        how="it compares itself with nobody",
        apply=breaking.function(compare, broken.nobody_is_compared_with),
        faults=_ROLLED_BACK,
        marked=True,
    ),
    Tooth(
        rule="Progress of the groups counts, too",
        how="only the stream is compared with",
        apply=breaking.function(compare, broken.only_the_stream_is_compared_with),
        faults=frozenset({Act.CHANGE_LANES, Act.LOSE_EXTRACTOR, Act.DELETE_STREAM}),
        marked=True,
    ),
    Tooth(
        rule="A reported fork opens a greater log",
        how="reports are not listened to",
        apply=breaking.function(compare, broken.forks_are_not_listened_to),
        faults=frozenset({Act.RESTORE_BOTH, Act.FORGET_PROGRESS, Act.RESTORE_EXTRACTOR}),
        marked=True,
    ),
    Tooth(
        rule="An idle pipeline emits an empty batch once a minute",
        how="it says nothing",
        apply=breaking.function(is_silent, broken.nothing_is_said),
    ),
    Tooth(
        rule="The server ends transactions whose client is frozen",
        how="they keep their locks",
        apply=breaking.method(gates._Transaction, "expire", broken.nothing_expires),
        setting={"left_frozen": True},
        marked=True,
        pace=Pace.LOADING,
    ),
    Tooth(
        rule="Every publish is fenced by the lane's last stream sequence",
        how="the stream takes anything (no fence header)",
        apply=breaking.method(MemoryStream, "publish", broken.the_stream_takes_anything),
        faults=_LOST_ACKS,
        setting=_VISIBLE,
    ),
    Tooth(
        rule="A refused relay goes on after the lane's last message if that is its own",
        how="it adopts the place and publishes the event again",
        apply=breaking.function(reconcile, broken.the_own_event_is_not_recognised),
        faults=_LOST_ACKS,
        marked=True,
    ),
    Tooth(
        rule="A refused relay adopts the place of a foreign message",
        how="it keeps the place it knew",
        apply=breaking.function(reconcile, broken.foreign_places_are_not_adopted),
        faults=frozenset({Act.FOREIGN, Act.DELETE_STREAM}),
        marked=True,
    ),
    Tooth(
        rule="An own message of an older generation does not undo a rewind",
        how="the relay goes on after it",
        apply=breaking.function(reconcile, broken.older_generations_are_gone_after),
        faults=_LOSSES,
        marked=True,
        setting=_VISIBLE,
    ),
    Tooth(
        rule="The relay publishes the next record that exists",
        how="it waits for the next sequence",
        apply=breaking.method(MemoryOutboxReader, "next_records", broken.holes_are_waited_for),
        faults=frozenset({Act.DROP_OUTBOX, Act.RESTORE_STREAM, Act.DELETE_STREAM, Act.LOSE_MESSAGES}),
        marked=True,
        setting=_VISIBLE,
    ),
    Tooth(
        rule="Relay cursors are compared and set on owner and generation",
        how="they are stored blindly",
        apply=breaking.method(MemoryRelayCursors, "advance", broken.cursors_are_stored_blindly),
        faults=_LOSSES,
        marked=True,
        setting=_VISIBLE,
    ),
    Tooth(
        rule="A rewind takes the lesser sequence",
        how="it goes forward, too",
        apply=breaking.method(MemoryRelayCursors, "rewind", broken.rewinds_go_forward_too),
        faults=_LOSSES,
        setting={"groups": 2},
        marked=True,
    ),
    Tooth(
        rule="A rewind raises the generation",
        how="it keeps it",
        apply=breaking.method(MemoryRelayCursors, "rewind", broken.rewinds_keep_the_generation),
        faults=_LOSSES,
        marked=True,
        setting=_VISIBLE,
    ),
    Tooth(
        rule="Every event is judged",
        how="no judge: everything applies",
        apply=breaking.function(judge, broken.everything_applies),
        faults=_LATE,
    ),
    Tooth(
        rule="What is not beyond the watermark has been applied",
        how="duplicates apply",
        apply=breaking.function(judge, broken.duplicates_apply),
        faults=_LATE,
    ),
    Tooth(
        rule="What lies beyond the next event is a gap",
        how="gaps apply",
        apply=breaking.function(judge, broken.gaps_apply),
        faults=_LOSSES,
        setting=_VISIBLE,
    ),
    Tooth(
        rule="The next event names the lane's last as its predecessor",
        how="predecessors are not compared",
        apply=breaking.function(judge, broken.predecessors_are_not_compared),
        faults=frozenset({Act.RESTORE_BOTH, Act.FORGET_PROGRESS, Act.RESTORE_EXTRACTOR}),
        marked=True,
    ),
    Tooth(
        rule="A lane begins at a snapshot's first page, and only there",
        how="baseline anywhere: any page of a snapshot is one",
        apply=breaking.function(judge, broken.any_snapshot_page_is_a_baseline),
        faults=_LOSSES,
        setting=_VISIBLE,
    ),
    Tooth(
        rule="A target leaves a log for all its lanes at once",
        how="each lane leaves it alone",
        apply=breaking.function(judge, broken.lanes_leave_logs_alone),
        faults=frozenset({Act.CHANGE_LANES, Act.LATE_DUPLICATE}),
        marked=True,
    ),
    Tooth(
        rule="The target stores the slot",
        how="a row belongs to the lane that wrote it",
        apply=breaking.method(MemoryWork, "_upsert", broken.the_writer_is_the_slot),
        faults=frozenset({Act.CHANGE_LANES}),
        marked=True,
    ),
    Tooth(
        rule="The honest time is withheld from a baseline until that snapshot's last page",
        how="it is claimed at once",
        apply=breaking.function(next_watermark, broken.baselines_claim_their_time),
        faults=frozenset({Act.RESTORE_TARGET, Act.PURGE, Act.DROP_OUTBOX}),
        marked=True,
        setting=_VISIBLE,
    ),
    Tooth(
        rule="The watermark commits with its rows",
        how="watermark outside the transaction",
        apply=breaking.method(MemoryWork, "save", broken.watermarks_commit_alone),
        setting=_VISIBLE,
        pace=Pace.STRICKEN,
    ),
    Tooth(
        rule="The ack comes after the commit",
        how="ack before commit",
        apply=breaking.method(Slots, "_handle", broken.acks_come_first),
        setting=_VISIBLE,
        pace=Pace.LOADING,
    ),
    Tooth(
        rule="A snapshot page removes what its range no longer has",
        how="deletes without range: whatever the page does not hold",
        apply=breaking.function(in_range, lambda _original, *_: True),
    ),
    Tooth(
        rule="A gap is asked for",
        how="the event is left out and nobody is asked",
        apply=breaking.method(UnusableEvents, "_gap", broken.gaps_are_left_out),
        faults=_LOSSES,
        setting=_VISIBLE,
    ),
    Tooth(
        rule="Events of an older generation than an answered resend ask for nothing",
        how="each asks again",
        apply=breaking.method(Resends, "covers", broken.every_gap_is_asked_for),
        faults=_LOSSES,
        marked=True,
    ),
    Tooth(
        rule="A drained lane without a baseline asks for a snapshot",
        how="nobody asks",
        apply=breaking.method(BaselineKeeper, "look", broken.nobody_asks_for_a_baseline),
        faults=frozenset({Act.PURGE, Act.RESTORE_TARGET, Act.DROP_OUTBOX}),
    ),
    Tooth(
        rule="So does a lane whose log the stream has left, when it has met no baseline of the greater one",
        how="a watermark in any log is enough",
        apply=breaking.function(_is_left_behind, broken.lanes_are_never_left_behind),
        faults=frozenset({Act.RESTORE_STREAM, Act.LOSE_EXTRACTOR}),
    ),
)
