"""What a pipeline's stream can be rebuilt from, in the KV bucket. Its keeper writes it; readers may find it stale."""

from datetime import datetime
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict

from qupersync_shared.kernel.ids import PipelineName


class SnapshotPlaceEntry(BaseModel):
    """Where one snapshot stands: the stream sequences of its first and last page, by lane. `cut`: no longer whole."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: UUID
    log: int
    lanes: int
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    first_at: AwareDatetime
    bytes: int = 0
    cut: bool = False


class StreamPlaces(BaseModel):
    """What is known of a stream up to a stream sequence, and what follows from it for people.

    `stream_made_at` tells one stream from another of the same name. `bytes_since` were published after the last whole
    snapshot. `replayable_since` None: a rebuild is not possible, for the reason given. `held_by` are loader groups
    that keep what no other needs.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    pipeline: str
    stream_made_at: datetime
    upto: int = 0
    places: tuple[SnapshotPlaceEntry, ...] = ()
    bytes_since: int = 0
    replayable_since: AwareDatetime | None = None
    not_rebuildable: str | None = None
    held_by: tuple[str, ...] = ()


def places_key(pipeline: PipelineName) -> str:
    return f"snapshot.{pipeline}"
