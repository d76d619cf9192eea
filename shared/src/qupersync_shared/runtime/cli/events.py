"""`qupersync events`: what stands in a pipeline's stream, decoded and printed; nothing durable is touched."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final

import nats.js.errors
from nats.aio.client import Client

from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.errors import QupersyncError, StreamUnavailableError
from qupersync_shared.kernel.ids import Lane, PipelineName
from qupersync_shared.runtime.cli.events_shown import document, line, row_lines
from qupersync_shared.runtime.console import print_json_line
from qupersync_shared.runtime.jetstream import connect, translated
from qupersync_shared.runtime.settings import NatsSection
from qupersync_shared.runtime.stream_reading import StreamMessage, reading

_BATCH: Final = 64
_CONNECT_SECONDS: Final = 5.0
_WAIT_SECONDS: Final = 2.0
_AGAIN_SECONDS: Final = 1.0
_RENEW_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events, and whether those to come as well."""

    pipeline: PipelineName
    lanes: tuple[Lane, ...] = ()
    from_sequence: int = 1
    limit: int | None = None
    headers_only: bool = False
    follow: bool = False


async def print_events(section: NatsSection, wanted: Wanted, *, as_json: bool, rows: bool) -> None:
    """Writes the events to stdout, one after the other, as they come."""
    async with aclosing(events(section, wanted)) as found:
        async for message in found:
            if as_json:
                print_json_line(document(wanted.pipeline, message, headers_only=wanted.headers_only))
                continue
            lines = [line(wanted.pipeline, message), *(f"    {text}" for text in row_lines(message) if rows)]
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()


async def events(section: NatsSection, wanted: Wanted) -> AsyncGenerator[StreamMessage, None]:
    """The messages in the order of the stream: those that stand there when the call begins, or those to come as well.

    While it follows, a server that goes away is waited for. StreamUnavailableError where it cannot begin,
    ConfigurationError for a lane that there is not.
    """
    client = await connect(section, name="qupersync-events", timeout=_CONNECT_SECONDS)
    try:
        end = await _end(client, wanted)
        after, left = wanted.from_sequence - 1, wanted.limit
        while left != 0 and (wanted.follow or after < end):
            try:
                async with aclosing(_some(client, wanted, after=after, end=end)) as some:
                    async for message in some:
                        yield message
                        after = message.sequence
                        if left is not None:
                            left -= 1
                            if left == 0:
                                return
            except StreamUnavailableError:
                if not wanted.follow:
                    raise
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                if not wanted.follow:
                    return
    finally:
        with suppress(Exception):
            await asyncio.wait_for(client.close(), _CONNECT_SECONDS)


async def _some(client: Client, wanted: Wanted, *, after: int, end: int) -> AsyncGenerator[StreamMessage, None]:
    """What follows `after`, from one consumer; ends after `end`, or never while it follows."""
    js = client.jetstream(timeout=_CONNECT_SECONDS)
    async with reading(
        js, wanted.pipeline, lanes=wanted.lanes, from_sequence=after + 1, headers_only=wanted.headers_only
    ) as (stream, waiting):
        seen_at, left = time.monotonic(), waiting
        while wanted.follow or left > 0:
            for message in await stream.next(min(_BATCH, left) if left > 0 else 1, seconds=_WAIT_SECONDS):
                if message.sequence > end and not wanted.follow:
                    return
                seen_at = time.monotonic()
                left = message.waiting
                yield message
            if time.monotonic() - seen_at > (_RENEW_SECONDS if wanted.follow else _CONNECT_SECONDS):
                return  # what waited was purged meanwhile; or the consumer is gone, and a new one is made


async def _end(client: Client, wanted: Wanted) -> int:
    """The stream's last sequence now."""
    stream = stream_name(wanted.pipeline)
    js = client.jetstream(timeout=_CONNECT_SECONDS)
    with translated(f"look at stream {stream}"):
        try:
            info = await js.stream_info(stream, subjects_filter=">")
        except nats.js.errors.NotFoundError:
            raise StreamUnavailableError(
                f"there is no stream {stream}", cure="Run `qupersync-extractor migrate`"
            ) from None
    known = sorted(int(subject.rpartition(".")[2]) for subject in info.state.subjects or {} if _is_lane(subject))
    missing = [number for number in wanted.lanes if number not in known]
    if missing and not wanted.follow:
        lanes = ", ".join(map(str, known)) or "none"
        raise QupersyncError(f"lane {missing[0]} of {wanted.pipeline} has no events", cure=f"Lanes that have: {lanes}")
    return info.state.last_seq


def _is_lane(subject: str) -> bool:
    return subject.rpartition(".")[2].isdecimal()
