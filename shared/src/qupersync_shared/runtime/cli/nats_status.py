"""What NATS itself can say of the state: streams, what was published last, what was applied, and who is alive."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import nats.js.errors
from nats.aio.client import Client
from nats.js.api import StreamInfo
from pydantic import ValidationError

from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.places import StreamPlaces
from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.errors import EventRefusedError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.jetstream import connect, translated
from qupersync_shared.runtime.settings import Configuration, NatsSection
from qupersync_shared.runtime.stream_reading import reading

_CONNECT_SECONDS: Final = 2.0
_REQUEST_SECONDS: Final = 2.0
_CONCURRENT_MAX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process's last heartbeat, and how long ago NATS received it."""

    beat: ProcessHeartbeat
    age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """One pipeline's stream; `last` holds the newest own event of each lane that has one."""

    messages: int
    bytes: int
    bytes_max: int
    last: dict[int, BatchEnvelope]


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsFacts:
    """Everything read from NATS at `at` (its own clock); a pipeline without a stream is missing in `streams`."""

    at: datetime
    streams: dict[str, StreamFacts] = field(default_factory=dict)
    lanes: dict[str, list[LaneProgress]] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    places: dict[str, StreamPlaces] = field(default_factory=dict)


class NatsLook:
    """Reads the facts again and again: what has not changed since the last look is not fetched again."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[object, dict[int, BatchEnvelope]]] = {}

    async def read(self, client: Client, pipelines: Sequence[str]) -> NatsFacts:
        """The facts as of now; StreamUnavailableError with the reason when they cannot be read."""
        slots = asyncio.Semaphore(_CONCURRENT_MAX)

        async def stream(name: str) -> StreamFacts | None:
            async with slots:
                return await self._stream(client, PipelineName(name))

        async def lanes(name: str) -> list[LaneProgress]:
            async with slots:
                found = await bucket.read(client, [f"lane.*.{name}.*"], timeout=_REQUEST_SECONDS)
                return _lanes(found.values())

        at = await bucket.server_time(client, timeout=_REQUEST_SECONDS)
        beats, places, streams, progress = await asyncio.gather(
            bucket.read(client, ["process.>"], timeout=_REQUEST_SECONDS),
            bucket.read(client, ["snapshot.*"], timeout=_REQUEST_SECONDS),
            asyncio.gather(*(stream(name) for name in pipelines)),
            asyncio.gather(*(lanes(name) for name in pipelines)),
        )
        return NatsFacts(
            at=at,
            streams={name: facts for name, facts in zip(pipelines, streams, strict=True) if facts is not None},
            lanes=dict(zip(pipelines, progress, strict=True)),
            processes=_processes(beats.values(), at),
            places={told.pipeline: told for told in _places(places.values())},
        )

    async def _stream(self, client: Client, pipeline: PipelineName) -> StreamFacts | None:
        name = stream_name(pipeline)
        js = client.jetstream(timeout=_REQUEST_SECONDS)
        with translated(f"look at stream {name}"):
            try:
                info: StreamInfo = await js.stream_info(name)
            except nats.js.errors.NotFoundError:
                return None
            state = info.state
            stamp = (info.created, state.first_seq, state.last_seq, state.messages)
            known, last = self._newest.get(pipeline, (None, {}))
            if known != stamp:
                headers = await _last_headers(client, pipeline) if state.messages else []
                last = {envelope.lane: envelope for envelope in _envelopes(headers) if envelope.pipeline == pipeline}
                self._newest[pipeline] = stamp, last
        return StreamFacts(
            messages=state.messages,
            bytes=state.bytes,
            bytes_max=info.config.max_bytes or -1,
            last=last,
        )


async def read_nats(section: NatsSection, configuration: Configuration) -> NatsFacts:
    """The facts; StreamUnavailableError with the reason when they cannot be read."""
    client = await connect(section, name="qupersync-status", timeout=_CONNECT_SECONDS, once=True)
    try:
        return await NatsLook().read(client, list(configuration.pipelines))
    finally:
        await client.close()


async def _last_headers(client: Client, pipeline: PipelineName) -> list[dict[str, str]]:
    """The headers of each lane's newest message, without their bodies, which may be megabytes."""
    js = client.jetstream(timeout=_REQUEST_SECONDS)
    async with reading(js, pipeline, newest_of_each_lane=True, headers_only=True) as (stream, waiting):
        messages = await stream.next(waiting, seconds=_REQUEST_SECONDS) if waiting else []
    return [message.headers for message in messages]


def _envelopes(headers: Iterable[dict[str, str]]) -> Iterable[BatchEnvelope]:
    for given in headers:
        try:
            yield BatchEnvelope.from_headers(given)
        except EventRefusedError:
            continue  # a foreign message says nothing of what was published


def _lanes(entries: Iterable[bucket.Entry]) -> list[LaneProgress]:
    found: list[LaneProgress] = []
    for entry in entries:
        try:
            found.append(LaneProgress.model_validate_json(entry.value))
        except ValidationError:
            continue
    return sorted(found, key=lambda lane: (lane.group, lane.lane))


def _places(entries: Iterable[bucket.Entry]) -> Iterable[StreamPlaces]:
    for entry in entries:
        try:
            yield StreamPlaces.model_validate_json(entry.value)
        except ValidationError:
            continue


def _processes(entries: Iterable[bucket.Entry], at: datetime) -> list[Process]:
    found: list[Process] = []
    for entry in entries:
        try:
            beat = ProcessHeartbeat.model_validate_json(entry.value)
        except ValidationError:
            continue
        found.append(Process(beat=beat, age_seconds=max(0.0, (at - entry.written_at).total_seconds())))
    return sorted(found, key=lambda process: (process.beat.role, process.age_seconds))


def alive(processes: Sequence[Process], stale_seconds: float) -> list[Process]:
    """Those whose heartbeat is fresh."""
    return [process for process in processes if process.age_seconds <= stale_seconds]


def plain(process: Process, stale_seconds: float) -> dict[str, Any]:
    """A process as the status document shows it."""
    return {
        **process.beat.model_dump(mode="json"),
        "age_seconds": round(process.age_seconds, 1),
        "alive": process.age_seconds <= stale_seconds,
    }
