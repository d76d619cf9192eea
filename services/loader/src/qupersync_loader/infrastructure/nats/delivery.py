"""One delivery of FastStream's, as the use cases see it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from faststream.nats import NatsMessage

from qupersync_loader.application.ports import BaselineAhead
from qupersync_shared.runtime.jetstream import translated

LookAhead = Callable[[tuple[int, datetime]], Awaitable[Sequence[BaselineAhead]]]
"""What stands behind a message of a lane, named by its stream sequence and time."""


class NatsDelivery:
    """The port `Delivery`. StreamUnavailableError where the answer cannot be sent: the message comes again."""

    def __init__(self, message: NatsMessage, ahead: LookAhead) -> None:
        self._message = message
        self._ahead = ahead
        self._metadata = message.raw_message.metadata

    @property
    def headers(self) -> Mapping[str, str]:
        return self._message.raw_message.headers or {}

    @property
    def body(self) -> bytes:
        return self._message.raw_message.data

    @property
    def attempt(self) -> int:
        return self._metadata.num_delivered or 1

    @property
    def pending(self) -> int:
        return self._metadata.num_pending or 0

    async def ack(self) -> None:
        with translated("acknowledge a message"):
            await self._message.ack()

    async def nak(self, delay_seconds: float) -> None:
        with translated("refuse a message"):
            await self._message.nack(delay=delay_seconds)

    async def in_progress(self) -> None:
        with translated("prolong a message"):
            await self._message.in_progress()

    async def baselines_ahead(self) -> Sequence[BaselineAhead]:
        return await self._ahead((self._metadata.sequence.stream, self._metadata.timestamp))
