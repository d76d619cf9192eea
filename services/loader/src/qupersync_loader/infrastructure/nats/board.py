"""The port `ProgressBoard` over the bucket `qupersync_progress`."""

import asyncio
import time
from typing import Final

from nats.js import JetStreamContext

from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat, lane_key, process_key
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.jetstream import Connection, ensure_bucket

# A process that has been gone for this long is forgotten; lanes are kept until their group is removed.
HEARTBEAT_KEEP_SECONDS: Final = 3600.0
RENEW_SECONDS: Final = 30.0
_AT_ONCE: Final = 32


class NatsProgressBoard:
    """Writes what this process knows; a bucket that was lost is made anew.

    Of the lanes, what has changed is written with every beat; all of them every half minute, and after the connection
    was made anew: the server may have come back with an older store.
    """

    def __init__(self, connection: Connection, *, replicas: int | None = None) -> None:
        self._connection = connection
        self._replicas = replicas
        self._written: dict[str, bytes] = {}
        self._renewed_at = float("-inf")
        self._connected: tuple[int, int] | None = None

    async def publish(self, heartbeat: ProcessHeartbeat, lanes: list[LaneProgress]) -> None:
        js = await self._connection.jetstream()
        key = process_key(heartbeat.role, heartbeat.instance)
        value = heartbeat.model_dump_json().encode()
        try:
            await bucket.write(js, key, value, keep_seconds=HEARTBEAT_KEEP_SECONDS)
        except bucket.BucketMissingError:
            await ensure_bucket(js, replicas=self._replicas)
            self._written.clear()
            await bucket.write(js, key, value, keep_seconds=HEARTBEAT_KEEP_SECONDS)
        await self._forget_what_may_be_lost()
        wanted = {
            lane_key(
                GroupName(lane.group), PipelineName(lane.pipeline), Lane(lane.lane)
            ): lane.model_dump_json().encode()
            for lane in lanes
        }
        changed = [(name, value) for name, value in wanted.items() if self._written.get(name) != value]
        for start in range(0, len(changed), _AT_ONCE):
            await asyncio.gather(*(self._write(js, *one) for one in changed[start : start + _AT_ONCE]))

    async def _write(self, js: JetStreamContext, name: str, value: bytes) -> None:
        self._written.pop(name, None)
        await bucket.write(js, name, value)
        self._written[name] = value

    async def _forget_what_may_be_lost(self) -> None:
        client = await self._connection.client()
        connected = (id(client), client.stats["reconnects"])
        now = time.monotonic()
        if connected != self._connected or now - self._renewed_at >= RENEW_SECONDS:
            self._written.clear()
            self._connected, self._renewed_at = connected, now

    async def withdraw(self, heartbeat: ProcessHeartbeat) -> None:
        js = await self._connection.jetstream()
        await bucket.remove(js, process_key(heartbeat.role, heartbeat.instance))
