"""A loader process: fetches a lane's next event, has it judged and applied in one transaction, acknowledges it."""

from collections.abc import Generator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.properties.simulation.events import Message
from tests.properties.simulation.invariants import check_claims, check_no_loss_was_seen
from tests.properties.simulation.target import facts

from qupersync_loader.application.resends import ASK_AGAIN, Resend, Resends
from qupersync_loader.domain.judge import AlreadyApplied, Apply, AwaitBaseline, Fork, Gap, has_begun
from qupersync_shared.contracts.commands import ResendStatus
from qupersync_shared.kernel.ids import Generation, Lane, Log, Sequence

if TYPE_CHECKING:
    from tests.properties.simulation.world import World

ACK_WAIT_TICKS = 6
ASK_AGAIN_TICKS = 8
_EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
_TICK = ASK_AGAIN / ASK_AGAIN_TICKS


class Loader:
    """One of a group's processes. What it remembers of resends it asked for is its own and may be lost."""

    def __init__(self, world: "World", group: str, name: str) -> None:
        self._world = world
        self._group = group
        self._name = f"loader {group}{name}"
        self._resends = Resends()
        self._asked_for_snapshot: dict[Lane, int] = {}
        self._unusable: dict[Lane, Log] = {}
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
        self._turns.clear()
        self._resends = Resends()
        self._unusable.clear()

    def _turn(self, lane: Lane) -> Generator[None, None, None]:
        world = self._world
        message = world.stream.fetch(self._group, lane, now=world.source.now, ack_wait=ACK_WAIT_TICKS)
        if message is None:
            self._drained(lane)
            return
        yield
        if not world.rules.ack_follows_commit:
            self._ack(message)
            yield
        if world.rules.watermark_commits_with_rows:
            handled = self._apply(message)
        else:
            handled = yield from self._apply_in_two(message)
        yield
        if handled:
            self._ack(message)
        else:
            world.stream.nak(self._group, lane, message.sequence)

    def _apply(self, message: Message) -> bool:
        """Whether the message may be acknowledged."""
        world, event = self._world, message.event
        verdict = world.targets[self._group].apply(message)
        match verdict:
            case Apply():
                world.say(f"{self._name}: applies {event}")
                self._resends.settle(event.lane)
                check_claims(world, self._group, event.lane)
                return True
            case AlreadyApplied():
                return True
            case AwaitBaseline():
                self._unusable[event.lane] = event.log
                return True
            case Gap(expected=expected):
                world.say(f"{self._name}: gap: expects {expected}, got {event} generation {message.generation}")
                check_no_loss_was_seen(world, event, verdict)
                return self._ask_for_resend(message, expected)
            case Fork():
                world.say(f"{self._name}: fork: {event}")
                check_no_loss_was_seen(world, event, verdict)
                return self._report_fork(message)

    def _report_fork(self, message: Message) -> bool:
        """Once it is accepted, what follows in this past is not asked for again."""
        event = message.event
        if not self._world.report_fork(event.log):
            return False
        self._resends.remember(
            event.lane, Resend(log=event.log, expected=event.sequence, generation=None, asked_at=self._now())
        )
        return True

    def _now(self) -> datetime:
        return _EPOCH + self._world.source.now * _TICK

    def _apply_in_two(self, message: Message) -> Generator[None, None, bool]:
        """The watermark first, in a transaction of its own: only a tooth does this."""
        target = self._world.targets[self._group]
        if not isinstance(target.judge(message), Apply):
            return self._apply(message)
        target.write_watermark(message)
        yield
        target = self._world.targets[self._group]
        target.write_rows(message.event)
        return True

    def _ask_for_resend(self, message: Message, expected: Sequence) -> bool:
        world, event = self._world, message.event
        now = self._now()
        if world.rules.resend_is_asked_for_once and self._resends.covers(facts(message), expected, now) is not None:
            return True
        reply = world.ask_for_resend(event.lane, event.log, expected)
        if reply is None:
            return False
        rewound = reply.status is ResendStatus.REWOUND
        if not rewound and not world.ask_for_snapshot(f"{self._name} lacks {expected} of lane {event.lane}"):
            return False
        generation = Generation(reply.generation) if rewound else None
        self._resends.remember(
            event.lane, Resend(log=event.log, expected=expected, generation=generation, asked_at=now)
        )
        return True

    def _drained(self, lane: Lane) -> None:
        """Only a drained lane without a baseline asks for one."""
        world = self._world
        if world.stream.pending(self._group, lane) is not None or lane >= world.database.state.lanes:
            return
        target = world.targets[self._group]
        mark = target.watermarks.get(lane)
        begun = has_begun(pipeline_log=target.log, pipeline_lanes=target.lanes, watermark=mark)
        newer = self._unusable.get(lane, 0) if world.rules.lane_that_a_log_left_behind_asks else 0
        if begun and mark is not None and mark.log >= newer:
            return
        asked_at = self._asked_for_snapshot.get(lane)
        if asked_at is not None and world.source.now - asked_at < ASK_AGAIN_TICKS:
            return
        self._asked_for_snapshot[lane] = world.source.now
        world.ask_for_snapshot(f"{self._name}: lane {lane} has no baseline")

    def _ack(self, message: Message) -> None:
        self._world.stream.ack(self._group, message.event.lane, message.sequence)
