"""What a rebuild needs of the target: a shadow beside the live table, a comparison, and a way to change places."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.domain.watermark import Watermark
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import Lane


class Phase(StrEnum):
    """How far a rebuild has come. Each may be the last: whoever begins again goes on from what is there."""

    READING = "reading"
    COMPARING = "comparing"
    SWAPPING = "swapping"
    KEPT = "kept"
    DIFFERENT = "different"
    SWAPPED = "swapped"
    MERGED = "merged"
    DISCARDED = "discarded"


class Way(StrEnum):
    """How the shadow's rows come into the live table's place: the tables change names, or rows are written over."""

    SWAP = "swap"
    MERGE = "merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePair:
    """One lane in the shadow and in the live table."""

    live: Watermark | None = None
    shadow: Watermark | None = None

    @property
    def level(self) -> bool:
        """Whether both have applied exactly the same last event."""
        return self.live is not None and self.shadow is not None and _place(self.live) == _place(self.shadow)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneDifference:
    """What one lane's rows are worth on both sides; `keys` are the first few that differ, encoded."""

    lane: Lane
    live_rows: int
    shadow_rows: int
    ranges: int
    keys: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The shadow and the live table as they stood at one and the same watermark of every lane."""

    live_rows: int
    shadow_rows: int
    excepted_keys: int = 0
    differences: Sequence[LaneDifference] = ()

    @property
    def equal(self) -> bool:
        return not self.differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """What putting the shadow in place did. `locked_seconds`: for so long readers of the table had to wait;
    `paused_seconds`: for so long loaders had to. `written` and `removed` rows are counted where rows are merged.
    """

    way: Way
    rows: int
    locked_seconds: float
    paused_seconds: float
    written: int = 0
    removed: int = 0


class Moment(Protocol):
    """Both tables as they stood when the moment was taken, however long ago; open until its context is left."""

    async def compare(self, schema: RowSchema) -> Comparison:
        """Counts and checksums of the schema's columns, lane by lane and range by range; keys where they differ.

        Left out on both sides: quarantined keys, rows marked deleted, rows that had been there before us.
        """
        ...


class Held(Protocol):
    """All live watermark rows locked, in lane order: no loader moves the live table until the context is left."""

    @property
    def lanes(self) -> Mapping[Lane, LanePair]: ...

    async def look(self) -> Mapping[Lane, LanePair]:
        """The pairs again, after the shadow was brought on."""
        ...

    def moment(self) -> AbstractAsyncContextManager[Moment]:
        """Takes the moment while all is held; it outlives the hold, and holds nothing back itself."""
        ...

    async def put_in_place(self, way: Way, schema: RowSchema) -> Swapped:
        """The shadow takes the live table's place, and its watermarks and quarantine with it, in one transaction that
        is committed on return. QupersyncError, and nothing has changed, where lanes are not level or still build their
        snapshot, an obstacle has come up, the live table was changed since `prepare`, or where readers do not let go
        of the table in time (TransientError: prepare, and try again).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why the tables cannot change names: what is in the way, and the cure."""

    what: str
    cure: str


class HinderedError(QupersyncError):
    """The tables cannot change names, for all the reasons named."""

    def __init__(self, table: str, obstacles: Sequence[Obstacle]) -> None:
        told = "; ".join(f"{one.what} ({one.cure})" for one in obstacles)
        super().__init__(
            f"{table} cannot change places with a shadow: {told}",
            cure="Remove what is in the way, or let the rows be merged in place with --merge",
        )
        self.obstacles = tuple(obstacles)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowState:
    """A rebuild that is known to the target, and its shadow's place."""

    id: UUID
    phase: Phase
    table: str
    lanes: Mapping[Lane, LanePair] = field(default_factory=dict)


class Shadow(Protocol):
    """One rebuild of one pipeline, claimed by this process until its context is left: there is no second one."""

    @property
    def pipeline(self) -> TargetPipeline:
        """The shadow as a pipeline of its own: a loader group that nobody else is in, and the shadow's table."""
        ...

    async def obstacles(self, schema: RowSchema) -> Sequence[Obstacle]:
        """What forbids the swap of names, all of it; nothing forbids a merge but missing rights.

        `schema` says which columns are the source's.
        """
        ...

    async def found(self) -> ShadowState | None:
        """What an earlier rebuild left; None if there is nothing."""
        ...

    async def make(self) -> ShadowState:
        """An empty shadow shaped as the live table is now, or the one that was found, with what it has."""
        ...

    async def prepare(self) -> None:
        """All that takes long before places are changed: indexes, foreign keys, statistics. Live load goes on; what is
        applied to the shadow meanwhile waits. Cheap where nothing is missing.
        """
        ...

    async def discard(self) -> None:
        """Removes the shadow, its watermarks and what it parked. What is not there is no error."""
        ...

    async def lanes(self) -> Mapping[Lane, LanePair]:
        """Where both stand; no lock is taken."""
        ...

    async def note(self, phase: Phase, *, rows: int = 0, detail: str = "") -> None:
        """Records how far the rebuild is, for whoever looks on."""
        ...

    def hold(self) -> AbstractAsyncContextManager[Held]:
        """Stops all loaders of the live table, for moments. TransientError if they do not let go in time."""
        ...


class Shadows(Protocol):
    """The target, as far as rebuilds go."""

    def claim(self, pipeline: TargetPipeline) -> AbstractAsyncContextManager[Shadow]:
        """The only rebuild of the pipeline; ConflictError, naming who has it, while another process has claimed it."""
        ...


def _place(watermark: Watermark) -> tuple[int, int, int, UUID]:
    return watermark.lanes, watermark.log, watermark.sequence, watermark.event_id
