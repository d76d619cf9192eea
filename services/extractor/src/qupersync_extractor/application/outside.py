"""Before each run the extractor compares itself with the stream and with what every loader group has applied."""

from qupersync_extractor.application.ports import Progress, Registry, Stream, UnitOfWorkFactory
from qupersync_extractor.domain.extraction import Extraction, open_log
from qupersync_extractor.domain.logs import Sighting, compare
from qupersync_shared.kernel.ids import EventId, FencingToken, Lane, Log, PipelineName, Sequence


async def settle_log(
    pipeline: PipelineName,
    token: FencingToken,
    *,
    unit_of_work: UnitOfWorkFactory,
    registry: Registry,
    stream: Stream,
    progress: Progress,
) -> Extraction:
    """The state to go on from: as it was, or in a log greater than anything seen, with a snapshot wished for.

    Others are looked at before the own state is: only the lease's owner commits, so what was seen can lag behind the
    state that is locked afterwards, but never run ahead of it.
    """
    forked = await registry.forked_log(pipeline)
    sightings = await _sightings(pipeline, registry, stream, progress)
    async with unit_of_work() as work:
        state = await work.extractions.lock(pipeline, token)
        greater = compare(state, sightings, forked=forked)
        if greater is None:
            return state
        state = open_log(state, log=greater.log, lanes=state.lanes, reason=greater.reason)
        await work.extractions.save(state)
        await work.commit()
    return state


async def _sightings(pipeline: PipelineName, registry: Registry, stream: Stream, progress: Progress) -> list[Sighting]:
    registration = await registry.get(pipeline)
    lanes = registration.lanes if registration else 1
    sightings = []
    for number in range(lanes):
        top = await stream.last_message(pipeline, Lane(number))
        if top is None or top.envelope is None:
            continue
        sightings.append(
            Sighting(
                where=f"the stream's lane {number}",
                lane=Lane(number),
                log=Log(top.envelope.log),
                sequence=Sequence(top.envelope.sequence),
                event_id=EventId(top.envelope.id),
            )
        )
    sightings.extend(
        Sighting(
            where=f"loader group {lane.group}, lane {lane.lane}",
            lane=Lane(lane.lane),
            log=Log(lane.log),
            sequence=Sequence(lane.sequence),
            event_id=EventId(lane.event_id),
        )
        for lane in await progress.lanes(pipeline)
    )
    return sightings
