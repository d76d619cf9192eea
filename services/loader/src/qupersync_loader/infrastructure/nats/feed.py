"""The lanes' durable consumers through FastStream: declared here, pulled one message at a time, acknowledged by hand.

Subscribers have no handler: FastStream's own loop would fetch before there is a slot to apply with, and memory would
grow with the lanes. `get_one` fetches when asked.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import nats.errors
import nats.js.errors
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from faststream.security import SASLPlaintext
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import StreamInfo

from qupersync_loader.application.ports import Backlog
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.nats.ahead import LanesAhead
from qupersync_loader.infrastructure.nats.delivery import NatsDelivery
from qupersync_shared.contracts.subjects import durable_name, lane_subject, stream_name, stream_subjects
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.runtime.jetstream import Connection, ensure_consumer, translated
from qupersync_shared.runtime.logs import describe, get_logger
from qupersync_shared.runtime.settings import NatsSection

_START_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 5.0
_GRACEFUL_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 1.0
_RENEW_SECONDS: Final = 2.0
_NOTHING_CAME: Final = "408"
_QUICK: Final = 0.5  # an empty fetch that returns in less than this part of its wait was not waited for

_log = get_logger(__name__)


async def raw_body(message: NatsMessage) -> bytes:
    """The body as it came: without this, FastStream would try to read it as JSON."""
    return message.raw_message.data


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """Lanes whose consumers were declared, and the stream as it was seen then."""

    lanes: frozenset[Lane]
    stream_made: str
    consumers: int


class NatsLaneFeed:
    """The port `LaneFeed`, of pipelines that may be let go. `control` is the process's other connection, for declaring
    and asking.

    A consumer that was deleted under us would make an idle loop run hot: fetches that fail, or end early, declare it
    anew.
    """

    def __init__(self, section: NatsSection, control: Connection, *, name: str, ack_wait_seconds: float) -> None:
        self._section = section
        self._control = control
        self._name = name
        self._ack_wait_seconds = ack_wait_seconds
        self._ahead = LanesAhead(control)
        self._broker: NatsBroker | None = None
        self._starting = asyncio.Lock()
        self._subscribers: dict[tuple[str, Lane], Any] = {}
        self._declared: dict[str, _Declared] = {}
        self._last_error: Exception | None = None

    # -------------------------------------------------------------------------------------------------- lanes

    async def discover(self, pipeline: TargetPipeline) -> frozenset[Lane]:
        js = await self._control.jetstream()
        stream = stream_name(pipeline.name)
        with translated(f"read stream {stream}"):
            info = await js.stream_info(stream, subjects_filter=stream_subjects(pipeline.name))
        lanes = {Lane(lane) for lane in range(pipeline.lanes)}
        for subject in info.state.subjects or {}:
            number = subject.rpartition(".")[2]
            if number.isdecimal() and lane_subject(pipeline.name, Lane(int(number))) == subject:
                lanes.add(Lane(int(number)))
        await self._declare(js, pipeline, frozenset(lanes), info)
        return frozenset(lanes)

    async def _declare(
        self, js: JetStreamContext, pipeline: TargetPipeline, lanes: frozenset[Lane], info: StreamInfo
    ) -> None:
        """Declares the lanes' consumers unless that was done and nothing speaks against their being there still.

        Asking for each of hundreds of lanes twice a minute is what an idle system would be busy with. One that vanishes
        alone is noticed by whoever fetches from it.
        """
        known = _Declared(lanes=lanes, stream_made=str(info.created), consumers=info.state.consumer_count)
        if self._declared.get(pipeline.name) == known:
            return
        for lane in sorted(lanes):
            await ensure_consumer(js, pipeline.group, pipeline.name, lane, self._ack_wait_seconds)
        # As it was before: where consumers were made just now, the next look differs, and declares once more.
        self._declared[pipeline.name] = known

    async def backlog(self, pipeline: TargetPipeline, lane: Lane) -> Backlog:
        js = await self._control.jetstream()
        durable = self._durable(pipeline, lane)
        with translated(f"look at consumer {durable}"):
            info = await js.consumer_info(stream_name(pipeline.name), durable)
        return Backlog(pending=info.num_pending or 0, unacknowledged=info.num_ack_pending or 0)

    # ----------------------------------------------------------------------------------------------- fetching

    async def fetch(self, pipeline: TargetPipeline, lane: Lane, *, wait_seconds: float) -> NatsDelivery | None:
        broker = await self._running()
        subscriber = self._subscriber(broker, pipeline, lane)
        began = time.monotonic()
        try:
            message = await subscriber.get_one(timeout=wait_seconds)
        except (nats.errors.Error, OSError, AttributeError) as error:
            # AttributeError: nats-py's own word for a client whose transport has just gone.
            await self._renew(pipeline, lane)
            raise StreamUnavailableError(
                f"cannot fetch from lane {lane} of {pipeline.name}: {describe(error)}",
                cure="Look at the NATS server and the network",
            ) from error
        if message is not None:
            return NatsDelivery(message, partial(self._ahead.baselines, pipeline.name, lane))
        if time.monotonic() - began < wait_seconds * _QUICK:
            if await self._renew(pipeline, lane):
                raise StreamUnavailableError(
                    f"the consumer of lane {lane} was deleted; it is declared anew, and passes over what was applied",
                    cure="Nobody but qupersync should delete consumers of its streams",
                )
            await asyncio.sleep(wait_seconds)
        elif not broker.connection.is_connected:
            raise StreamUnavailableError("NATS does not answer", cure="Look at the NATS server and the network")
        return None

    async def news(self, pipeline: TargetPipeline, lane: Lane, *, wait_seconds: float) -> bool:
        """The port `LaneNews`: a fetch of one byte at most, which no message fits into.

        The server lets it wait like any fetch, and when there is a message to give answers that it is too large
        (409), to every process that waits. Nothing is delivered, so nothing is held back or counted as delivered.

        A message that came when its fetch had just given up is here already, and no news to the server.
        """
        if _late(self._subscribers.get((pipeline.name, lane))):
            return True
        request = {"batch": 1, "max_bytes": 1, "expires": round(wait_seconds * 1_000_000_000)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream_name(pipeline.name)}.{self._durable(pipeline, lane)}"
        client = await self._control.client()
        with translated(f"wait for news of lane {lane} of {pipeline.name}"):
            try:
                answer = await client.request(
                    subject, json.dumps(request).encode(), timeout=wait_seconds + _ANSWER_SECONDS
                )
            except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
                return True  # the consumer is missing, or the server forgot us: fetching finds out
        return (answer.headers or {}).get("Status") != _NOTHING_CAME

    @staticmethod
    def _durable(pipeline: TargetPipeline, lane: Lane) -> str:
        return durable_name(pipeline.group, pipeline.name, lane)

    async def _renew(self, pipeline: TargetPipeline, lane: Lane) -> bool:
        """Forgets the lane's subscription and declares its consumer anew, if NATS lets us; whether it was gone."""
        await self._unsubscribe(pipeline, lane)
        # A cluster that is choosing a leader answers nobody: whoever waits long for it then, waits too long.
        js = (await self._control.client()).jetstream(timeout=_RENEW_SECONDS)
        durable = self._durable(pipeline, lane)
        gone = False
        with translated(f"look at consumer {durable}"):
            try:
                await js.consumer_info(stream_name(pipeline.name), durable)
            except nats.js.errors.NotFoundError:
                gone = True
        await ensure_consumer(js, pipeline.group, pipeline.name, lane, self._ack_wait_seconds)
        if gone:
            _log.warning("consumer_was_gone", pipeline=pipeline.name, lane=lane, consumer=durable)
        return gone

    async def _unsubscribe(self, pipeline: TargetPipeline, lane: Lane) -> None:
        subscriber = self._subscribers.pop((pipeline.name, lane), None)
        if subscriber is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(_give_back(subscriber), _STOP_SECONDS)
                await asyncio.wait_for(subscriber.stop(), _STOP_SECONDS)

    async def let_go(self, pipeline: TargetPipeline) -> None:
        """Gives back what nobody has taken of the pipeline's lanes; the consumers stay, they are the group's claim."""
        for name, lane in list(self._subscribers):
            if name == pipeline.name:
                await self._unsubscribe(pipeline, lane)
        self._declared.pop(pipeline.name, None)
        self._ahead.forget(pipeline.name)

    def _subscriber(self, broker: NatsBroker, pipeline: TargetPipeline, lane: Lane) -> Any:
        known = self._subscribers.get((pipeline.name, lane))
        if known is None:
            known = broker.subscriber(
                lane_subject(pipeline.name, lane),
                stream=JStream(stream_name(pipeline.name), declare=False),
                durable=self._durable(pipeline, lane),
                pull_sub=PullSub(batch_size=1),
                ack_policy=AckPolicy.MANUAL,
                no_reply=True,
            )
            self._subscribers[pipeline.name, lane] = known
        return known

    # --------------------------------------------------------------------------------------------- connecting

    async def _running(self) -> NatsBroker:
        """The broker, started; a client that its server has closed for good is replaced."""
        broker = self._broker
        if broker is not None and not broker.connection.is_closed:
            return broker
        async with self._starting:
            broker = self._broker
            if broker is not None and not broker.connection.is_closed:
                return broker
            self._subscribers.clear()
            self._broker = None
            self._broker = await self._start()
            return self._broker

    async def _start(self) -> NatsBroker:
        # The shared connection knows best how to say why NATS is not there, and answers within its timeout.
        await self._control.client()
        broker = self._make()
        try:
            # Without a limit FastStream waits for an absent server for ever.
            async with asyncio.timeout(_START_SECONDS):
                await broker.start()
        except (TimeoutError, nats.errors.Error, OSError) as error:
            await _stop(broker)
            raise StreamUnavailableError(
                f"NATS does not take a connection: {describe(self._last_error or error)}",
                cure="Look at the NATS server and the network",
            ) from error
        except BaseException:
            await _stop(broker)
            raise
        return broker

    def _make(self) -> NatsBroker:
        section = self._section
        password = section.password.get_secret_value() if section.password else ""
        return NatsBroker(
            section.servers,
            name=self._name,
            security=SASLPlaintext(section.user, password) if section.user else None,
            # A finite number freezes the event loop once the connection is closed.
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            ping_interval=5,
            max_outstanding_pings=2,
            graceful_timeout=_GRACEFUL_SECONDS,
            decoder=raw_body,
            error_cb=self._note(),
            logger=None,
        )

    def _note(self) -> Callable[[Exception], Awaitable[None]]:
        async def note(error: Exception) -> None:
            if describe(error) != (describe(self._last_error) if self._last_error else None):
                _log.warning("nats_error", connection=self._name, error=error)
            self._last_error = error

        return note

    async def close(self) -> None:
        """Ends every subscription and the connection; messages that nobody has taken are given back."""
        broker, self._broker = self._broker, None
        if broker is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_STOP_SECONDS):
                    for subscriber in self._subscribers.values():
                        await _give_back(subscriber)
            await _stop(broker)


def _late(subscriber: Any) -> list[Msg]:
    """What came when the fetch that asked for it had given up; the next fetch would take it."""
    fetching = getattr(subscriber, "_fetch_sub", None)
    if fetching is None:
        return []
    # nats-py counts what waits, but the server's word for an empty fetch mostly waits there, too.
    queued = list(fetching._sub._pending_queue._queue)  # noqa: SLF001
    return [message for message in queued if not JetStreamContext.is_status_msg(message)]


async def _give_back(subscriber: Any) -> None:
    """Else the server would wait for an answer, and give the lane nothing, until the ack wait is over."""
    for message in _late(subscriber):
        await message.nak()


async def _stop(broker: NatsBroker) -> None:
    client: Client | None = getattr(broker, "_connection", None)
    with contextlib.suppress(Exception):
        await asyncio.wait_for(broker.stop(), _STOP_SECONDS)
    if client is not None and not client.is_closed:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client.close(), _STOP_SECONDS)
