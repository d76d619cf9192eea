"""What all pipelines of a process share before their source: windows, budget, and what is told of waiting for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from qupersync_extractor.application.ports import Source
from qupersync_extractor.application.source_gate import (
    ONE_ANSWER,
    Calendar,
    GuardedSource,
    SourceGate,
    Tell,
    count,
)
from qupersync_extractor.application.source_turns import SourceTurns
from qupersync_extractor.application.troubles import Troubles
from qupersync_extractor.application.verifying.guarded import GuardedDigests
from qupersync_extractor.application.verifying.ports import SourceDigests
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.logs import get_logger

NOTICE_SECONDS: Final = 5.0
TROUBLE_SECONDS: Final = 60.0
BUDGET: Final = "source budget"
COMPARISON: Final = "comparison at the source"

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceGuard:
    """Guards sources, pipeline by pipeline. `turns` is None where there is no budget."""

    calendar: Calendar
    turns: SourceTurns | None
    troubles: Troubles

    def of_runs(self, source: Source, pipeline: PipelineName) -> GuardedSource:
        """The source as a pipeline's runs have it: maintenance ends them at their next read."""
        return GuardedSource(
            source,
            SourceGate(
                pipeline=pipeline,
                calendar=self.calendar,
                turns=self.turns,
                tell=partial(self._told, pipeline, BUDGET),
                ends_runs=True,
            ),
        )

    def of_comparison(
        self, source: Source, digests: SourceDigests, pipeline: PipelineName, tell: Tell | None = None
    ) -> tuple[Source, SourceDigests]:
        """Source and digests as a comparison has them: it waits until maintenance is over."""
        gate = SourceGate(
            pipeline=pipeline,
            calendar=self.calendar,
            turns=self.turns,
            tell=tell or partial(self._told, pipeline, COMPARISON),
            ends_runs=False,
        )
        return GuardedSource(source, gate), GuardedDigests(digests, gate)

    @asynccontextmanager
    async def looking(self, pipeline: PipelineName) -> AsyncIterator[None]:
        """A look at a pipeline's source beside its runs: a few questions, one after the other, are one read."""
        gate = SourceGate(
            pipeline=pipeline, calendar=self.calendar, turns=self.turns, tell=lambda *_: None, ends_runs=False
        )
        async with gate.passed(ONE_ANSWER) as turn:
            count(turn, ONE_ANSWER)
            yield

    async def close(self) -> None:
        """Gives back every turn of this process."""
        if self.turns is not None:
            await self.turns.close()

    @property
    def closed(self) -> bool:
        """Whether it is maintenance."""
        return self.calendar.now() is not None

    def _told(self, pipeline: PipelineName, part: str, reason: str | None, seconds: float | None) -> None:
        """A short wait is nobody's business, a longer one a notice, and one that lasts a trouble."""
        shown = reason if seconds is None or seconds >= NOTICE_SECONDS else None
        if reason is None or seconds is None or seconds < TROUBLE_SECONDS:
            self.troubles.remark(pipeline, part, shown)
            if self.troubles.clear(pipeline, part):
                _log.info("source_budget_has_room", pipeline=pipeline)
            return
        self.troubles.remark(pipeline, part, None)
        if not self.troubles.clear(pipeline, part):
            _log.warning("extraction_waits", pipeline=pipeline, reason=reason)
        self.troubles.set(pipeline, part, reason)


def guard_of(calendar: Calendar, turns: SourceTurns, troubles: Troubles) -> SourceGuard | None:
    """The guard, with as much as it has to keep; None where that is nothing."""
    if not calendar.windows and not turns.limits:
        return None
    return SourceGuard(calendar=calendar, turns=turns if turns.limits else None, troubles=troubles)
