"""The port `Claims`: durable consumers and the bucket's keys of one loader group."""

import nats.js.errors

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.contracts.progress import lane_key
from qupersync_shared.contracts.subjects import durable_name, stream_name
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.jetstream import Connection, ensure_consumer, translated
from qupersync_shared.runtime.stream_reading import LaneConsumer, lane_consumers


class NatsClaims:
    """Every call asks the server anew; other loaders of the group may be at the same."""

    def __init__(self, connection: Connection, *, ack_wait_seconds: float) -> None:
        self._connection = connection
        self._ack_wait_seconds = ack_wait_seconds

    async def begin_again(self, pipeline: TargetPipeline, lanes: frozenset[Lane]) -> frozenset[Lane]:
        js = await self._connection.jetstream()
        known = await self._consumers(pipeline)
        again = frozenset(lane for lane in lanes if lane in known and known[lane].acknowledged)
        for lane in sorted(again):
            await self._delete(pipeline, lane)
            await ensure_consumer(js, pipeline.group, pipeline.name, lane, self._ack_wait_seconds)
        return again

    async def end(self, pipeline: TargetPipeline, *, kept: frozenset[Lane]) -> frozenset[Lane]:
        known = await self._consumers(pipeline)
        left = {lane for lane, consumer in known.items() if lane not in kept and not consumer.waiting}
        for lane in sorted(left):
            await self._delete(pipeline, lane)
        told = await self._told(pipeline) - kept
        js = await self._connection.jetstream()
        for lane in sorted(told):
            await bucket.remove(js, lane_key(pipeline.group, pipeline.name, lane))
        return frozenset(left | told)

    async def _consumers(self, pipeline: TargetPipeline) -> dict[Lane, LaneConsumer]:
        found = await lane_consumers(await self._connection.jetstream(), pipeline.name)
        return {lane: consumer for (group, lane), consumer in found.items() if group == pipeline.group}

    async def _delete(self, pipeline: TargetPipeline, lane: Lane) -> None:
        js = await self._connection.jetstream()
        durable = durable_name(pipeline.group, pipeline.name, lane)
        with translated(f"delete consumer {durable}"):
            try:
                await js.delete_consumer(stream_name(pipeline.name), durable)
            except nats.js.errors.NotFoundError:
                return  # another loader was faster

    async def _told(self, pipeline: TargetPipeline) -> frozenset[Lane]:
        """The lanes that have progress in the bucket; none where there is no bucket."""
        client = await self._connection.client()
        try:
            found = await bucket.read(client, [f"lane.{pipeline.group}.{pipeline.name}.*"])
        except bucket.BucketMissingError:
            return frozenset()
        numbers = (key.rpartition(".")[2] for key in found)
        return frozenset(Lane(int(number)) for number in numbers if number.isdecimal())
