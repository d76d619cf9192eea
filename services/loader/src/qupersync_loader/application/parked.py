"""What is parked gets another chance after each snapshot, and is forgotten a month after it was resolved."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from qupersync_loader.application.ports import Commands, DueReread, PipelineState, Target
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.contracts.commands import REREAD_KEYS_MAX, RereadRequest
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.logs import get_logger

KEEP_DAYS: Final = 30
ASK_AGAIN: Final = timedelta(seconds=30)
TIDY_EVERY: Final = timedelta(hours=1)
TIDY_LETTERS_EVERY: Final = timedelta(minutes=1)  # those of lanes that are no more are settled by tidying alone
_KEY_BYTES_MAX: Final = 400_000  # a request must fit into one message, whatever the server's limit
_SPACE: Final = uuid5(NAMESPACE_URL, "qupersync.cmd.reread")

_log = get_logger(__name__)


class ParkedKeeper:
    """Asks, once per lane and snapshot, for the keys that are still in quarantine when the snapshot is over.

    What was asked for is noted in the target after the answer: a lost reply or a crash in between means that the same
    request, by its id, is made again. A key that was refused meanwhile, or is once more, waits for the next snapshot.
    """

    def __init__(self, target: Target, commands: Commands, clock: Clock) -> None:
        self._target = target
        self._commands = commands
        self._clock = clock
        self._unanswered: dict[PipelineName, datetime] = {}
        self._tidied: datetime | None = None

    async def look(self, pipelines: Sequence[TargetPipeline], states: Mapping[PipelineName, PipelineState]) -> None:
        """One look at all pipelines; DatabaseUnavailableError where the target cannot take part."""
        now = self._clock.now()
        letters = any(states[p.name].parked.dead_letters for p in pipelines if p.name in states)
        if self._tidied is None or abs(now - self._tidied) >= (TIDY_LETTERS_EVERY if letters else TIDY_EVERY):
            await self._target.tidy(pipelines, keep_days=KEEP_DAYS)
            self._tidied = now
        asking = [
            pipeline
            for pipeline in pipelines
            if pipeline.name in states and states[pipeline.name].parked.quarantined and self._may_ask(pipeline, now)
        ]
        if not asking:
            return
        for due in await self._target.due_rereads(asking):
            for rows in key_lists(due.rows):
                if due.pipeline not in self._unanswered:
                    await self._ask(replace(due, rows=rows), now)

    def _may_ask(self, pipeline: TargetPipeline, now: datetime) -> bool:
        unanswered = self._unanswered.get(pipeline.name)
        if unanswered is not None and abs(now - unanswered) < ASK_AGAIN:
            return False
        self._unanswered.pop(pipeline.name, None)
        return True

    async def _ask(self, due: DueReread, now: datetime) -> None:
        accepted = await self._commands.request_reread(
            RereadRequest(
                id=request_id(due),
                group=due.group,
                pipeline=due.pipeline,
                reason=f"lane {due.lane} has rows in quarantine after snapshot {due.snapshot}",
                keys=tuple(due.rows.values()),
            )
        )
        _log.info("reread_requested", pipeline=due.pipeline, lane=due.lane, keys=len(due.rows), accepted=accepted)
        if accepted:
            await self._target.saw_asked(due)
        else:
            self._unanswered[due.pipeline] = now


def key_lists(keys: Mapping[int, str]) -> Iterator[dict[int, str]]:
    """Keys by row, in lists that a request may hold."""
    rows: dict[int, str] = {}
    size = 0
    for row, key in keys.items():
        if rows and (len(rows) >= REREAD_KEYS_MAX or size + len(key) > _KEY_BYTES_MAX):
            yield rows
            rows, size = {}, 0
        rows[row] = key
        size += len(key)
    if rows:
        yield rows


def request_id(due: DueReread) -> UUID:
    """The same for the same keys after the same snapshot, and for no others: asking again is asking once."""
    keys = hashlib.sha256("\n".join(due.rows.values()).encode()).hexdigest()
    return uuid5(_SPACE, f"{due.group}/{due.pipeline}/{due.lane}/{due.snapshot}/{keys}")
