"""The port `ProgressBoard` over the bucket `qupersync_progress`."""

import asyncio
from typing import Final

from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat, lane_key, process_key
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.jetstream import Connection, ensure_bucket

# A process that has been gone for this long is forgotten; lanes are kept until their group is removed.
HEARTBEAT_KEEP_SECONDS: Final = 3600.0
_AT_ONCE: Final = 32


class NatsProgressBoard:
    """Writes what this process knows; a bucket that was lost is made anew."""

    def __init__(self, connection: Connection, *, replicas: int | None = None) -> None:
        self._connection = connection
        self._replicas = replicas

    async def publish(self, heartbeat: ProcessHeartbeat, lanes: list[LaneProgress]) -> None:
        js = await self._connection.jetstream()
        key = process_key(heartbeat.role, heartbeat.instance)
        value = heartbeat.model_dump_json().encode()
        try:
            await bucket.write(js, key, value, keep_seconds=HEARTBEAT_KEEP_SECONDS)
        except bucket.BucketMissingError:
            await ensure_bucket(js, replicas=self._replicas)
            await bucket.write(js, key, value, keep_seconds=HEARTBEAT_KEEP_SECONDS)
        for start in range(0, len(lanes), _AT_ONCE):
            await asyncio.gather(
                *(
                    bucket.write(
                        js,
                        lane_key(GroupName(lane.group), PipelineName(lane.pipeline), Lane(lane.lane)),
                        lane.model_dump_json().encode(),
                    )
                    for lane in lanes[start : start + _AT_ONCE]
                )
            )

    async def withdraw(self, heartbeat: ProcessHeartbeat) -> None:
        js = await self._connection.jetstream()
        await bucket.remove(js, process_key(heartbeat.role, heartbeat.instance))
