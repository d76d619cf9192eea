"""The port `Progress` over the bucket `qupersync_progress`."""

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from qupersync_shared.contracts.places import StreamPlaces, places_key
from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat, process_key
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.jetstream import Connection, ensure_bucket
from qupersync_shared.runtime.logs import get_logger

# A process that has been gone for this long is forgotten.
HEARTBEAT_KEEP_SECONDS: Final = 3600.0
# So is what is known of the stream of a pipeline that is gone; the stream itself would tell it again.
PLACES_KEEP_SECONDS: Final = 7 * 86_400.0
PIPELINES_NAMED_MAX: Final = 16

Content = TypeVar("Content", bound=BaseModel)

_log = get_logger(__name__)


class JetStreamProgress:
    """Reads what loader groups say of themselves, and writes this process's heartbeat.

    A bucket that is missing is made: it was lost, and its owners will write it anew.
    """

    def __init__(self, connection: Connection, *, replicas: int = 1) -> None:
        self._connection = connection
        self._replicas = replicas

    async def lanes(self, pipeline: PipelineName) -> list[LaneProgress]:
        found = await self._read(f"lane.*.{pipeline}.*")
        return sorted(_parsed(found.items(), LaneProgress), key=lambda entry: (entry.group, entry.lane))

    async def lanes_of(self, pipelines: Sequence[PipelineName]) -> list[LaneProgress]:
        """Every group's lanes of these pipelines: in one request, which names them unless they are many."""
        named = len(pipelines) <= PIPELINES_NAMED_MAX
        found = await self._read(*([f"lane.*.{name}.*" for name in pipelines] if named else ["lane.>"]))
        wanted = frozenset(pipelines)
        return [lane for lane in _parsed(found.items(), LaneProgress) if lane.pipeline in wanted]

    async def all_lanes(self) -> list[LaneProgress]:
        """The lanes of all pipelines and groups."""
        found = await self._read("lane.>")
        return sorted(_parsed(found.items(), LaneProgress), key=lambda entry: (entry.pipeline, entry.group, entry.lane))

    async def beat(self, heartbeat: ProcessHeartbeat) -> None:
        key = process_key(heartbeat.role, heartbeat.instance)
        await self._write(key, heartbeat.model_dump_json().encode(), keep_seconds=HEARTBEAT_KEEP_SECONDS)

    async def leave(self, role: str, instance: str) -> None:
        await bucket.remove(await self._connection.jetstream(), process_key(role, instance))

    async def processes(self) -> list[ProcessHeartbeat]:
        found = await self._read("process.>")
        return sorted(_parsed(found.items(), ProcessHeartbeat), key=lambda entry: (entry.role, entry.instance))

    async def places(self, pipeline: PipelineName) -> StreamPlaces | None:
        """What was last told of the pipeline's stream; None where nothing readable was."""
        found = await self._read(places_key(pipeline))
        return next(iter(_parsed(found.items(), StreamPlaces)), None)

    async def put_places(self, places: StreamPlaces) -> None:
        key = places_key(PipelineName(places.pipeline))
        await self._write(key, places.model_dump_json().encode(), keep_seconds=PLACES_KEEP_SECONDS)

    async def _write(self, key: str, value: bytes, *, keep_seconds: float) -> None:
        js = await self._connection.jetstream()
        try:
            await bucket.write(js, key, value, keep_seconds=keep_seconds)
        except bucket.BucketMissingError:
            await ensure_bucket(js, replicas=self._replicas)
            await bucket.write(js, key, value, keep_seconds=keep_seconds)

    async def _read(self, *keys: str) -> dict[str, bucket.Entry]:
        try:
            return await bucket.read(await self._connection.client(), keys)
        except bucket.BucketMissingError:
            await ensure_bucket(await self._connection.jetstream(), replicas=self._replicas)
            return {}


def _parsed(entries: Iterable[tuple[str, bucket.Entry]], kind: type[Content]) -> list[Content]:
    parsed: list[Content] = []
    for key, entry in entries:
        try:
            parsed.append(kind.model_validate_json(entry.value))
        except ValidationError:
            _log.warning("progress_entry_unreadable", key=key)
    return parsed
