"""The group's claims on a pipeline's lanes: begun again where the target was lost, ended where the lanes are gone."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from qupersync_loader.application.ports import PipelineState
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.kernel.ids import Lane, PipelineName
from qupersync_shared.runtime.logs import get_logger

# Longer than any loader takes to notice that a lane has left: none of them declares its consumer anew.
LEFT_SECONDS: Final = 45.0

_log = get_logger(__name__)


class Claims(Protocol):
    """The group's durable consumers and progress on NATS. StreamUnavailableError where it cannot take part."""

    async def begin_again(self, pipeline: TargetPipeline, lanes: frozenset[Lane]) -> frozenset[Lane]:
        """The lanes are given everything that the stream holds once more; those that had acknowledged something."""
        ...

    async def end(self, pipeline: TargetPipeline, *, kept: frozenset[Lane]) -> frozenset[Lane]:
        """Removes consumers that nothing waits for, and progress, of all lanes but those kept; which they were."""
        ...


@dataclass(slots=True, kw_only=True)
class _Seen:
    """Which lanes the pipeline has, since when, and whether claims on others were ended since."""

    kept: frozenset[Lane]
    since: float
    ended: bool = False


class ClaimKeeper:
    """Looks at each pipeline when its lanes were looked for."""

    def __init__(self, claims: Claims, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._claims = claims
        self._monotonic = monotonic
        self._seen: dict[PipelineName, _Seen] = {}
        self._begun_again: dict[PipelineName, set[Lane]] = {}

    def saw(self, states: Mapping[PipelineName, PipelineState]) -> None:
        """What the target knows now: a lane that has begun may be lost another time."""
        for name, lanes in self._begun_again.items():
            if name in states:
                lanes.difference_update(states[name].watermarks)

    async def begin_again_where_lost(
        self, pipeline: TargetPipeline, lanes: frozenset[Lane], state: PipelineState | None
    ) -> None:
        """A target that knows nothing of what the group has acknowledged of a lane has lost it: the lane is read once
        more. Each lane for itself, because whoever did this before may have died half-way.

        Once in a process, until the lane has begun: where the stream does not help, a snapshot must.
        """
        known = state or PipelineState()
        self.saw({pipeline.name: known})
        tried = self._begun_again.setdefault(pipeline.name, set())
        missing = frozenset(
            lane
            for lane in lanes - tried
            if lane not in known.watermarks and (known.lanes is None or lane < known.lanes)
        )
        if not missing:
            return
        again = await self._claims.begin_again(pipeline, missing)
        tried |= missing
        if again:
            _log.warning("stream_is_read_again", pipeline=pipeline.name, table=pipeline.target, lanes=sorted(again))

    async def end_where_left(
        self, pipeline: TargetPipeline, found: frozenset[Lane], state: PipelineState | None
    ) -> frozenset[Lane]:
        """Ends claims on lanes that are neither configured, nor in the stream, nor in the log that the target is in.

        The lanes that there are; all of `found` at least.
        """
        if state is None or state.lanes is None:
            return found
        kept = found | {Lane(lane) for lane in range(state.lanes)}
        seen, now = self._seen.get(pipeline.name), self._monotonic()
        if seen is None or seen.kept != kept:
            self._seen[pipeline.name] = _Seen(kept=kept, since=now)
        elif not seen.ended and now - seen.since >= LEFT_SECONDS:
            ended = await self._claims.end(pipeline, kept=kept)
            seen.ended = True
            if ended:
                _log.info("lanes_left", pipeline=pipeline.name, lanes=sorted(ended))
        return kept

    def forget(self, pipeline: TargetPipeline) -> None:
        """The pipeline is not served any more."""
        self._seen.pop(pipeline.name, None)
        self._begun_again.pop(pipeline.name, None)
