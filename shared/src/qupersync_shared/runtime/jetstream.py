"""JetStream: connections that heal, what is declared there, and one place that classifies its errors."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    KeyValueConfig,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from qupersync_shared.contracts.subjects import (
    PROGRESS_BUCKET,
    durable_name,
    lane_subject,
    stream_name,
    stream_subjects,
)
from qupersync_shared.kernel.errors import QupersyncError, StreamFullError, StreamUnavailableError, TerminalError
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime.logs import describe, get_logger, mask
from qupersync_shared.runtime.settings import NatsSection

EVENT_BYTES_MAX: Final = 1_000_000
PROGRESS_BYTES_MAX: Final = 64 << 20
_PING_SECONDS: Final = 5
_SAME_ERROR_SECONDS: Final = 60.0

WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})
NO_MESSAGE: Final = 10037
_FULL: Final = frozenset({10077, 10047, 10023, 10002})
_STREAM_NOT_FOUND: Final = 10059
_NAME_IN_USE: Final = 10058

_log = get_logger(__name__)


# ----------------------------------------------------------------------------------------------------------- connecting


async def connect(section: NatsSection, *, name: str, timeout: float = 5, once: bool = False) -> Client:
    """A connected client that reconnects for ever; StreamUnavailableError, with the reason, within `timeout` seconds.

    Nothing is buffered while the connection is down: a publish fails at once instead of arriving late. A server that
    refuses the credentials later closes the client for good: `Connection` makes a new one. `once` is for probes: no
    server is tried for a third time, and a lost connection stays lost.
    """
    client = Client()
    reporter = _Reporter(name, client)
    password = section.password.get_secret_value() if section.password else None
    try:
        async with asyncio.timeout(timeout):
            await client.connect(
                section.servers,
                name=name,
                user=section.user,
                password=password,
                allow_reconnect=not once,
                max_reconnect_attempts=1 if once else -1,
                reconnect_time_wait=0 if once else 1,
                ping_interval=_PING_SECONDS,
                max_outstanding_pings=2,
                pending_size=0,
                error_cb=reporter.error,
                disconnected_cb=reporter.disconnected,
                reconnected_cb=reporter.reconnected,
                closed_cb=reporter.closed,
            )
    except BaseException as error:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client.close(), 1)
        if isinstance(error, TimeoutError | OSError | nats.errors.Error):
            raise _no_answer(section, reporter.refused or reporter.last or error) from error
        raise
    reporter.connected = True
    return client


def _no_answer(section: NatsSection, error: BaseException) -> StreamUnavailableError:
    servers = ", ".join(mask(str(server)) for server in section.servers)
    if _is_refusal(error):
        return StreamUnavailableError(
            f"NATS at {servers} refuses the credentials", cure="Set nats.user and QUPERSYNC_NATS__PASSWORD"
        )
    if isinstance(error, ConnectionResetError):  # how a refusal looks when the server closes before it is read
        return StreamUnavailableError(
            f"NATS at {servers} ended the connection while it was made", cure="Are the credentials right, and is TLS?"
        )
    reason = "" if isinstance(error, TimeoutError) else f" ({describe(error)})"
    return StreamUnavailableError(
        f"NATS at {servers} does not answer{reason}", cure="Start it, or mend nats.servers in the configuration"
    )


def _is_refusal(error: BaseException) -> bool:
    # While it connects, nats-py knows a refusal by its text only.
    return isinstance(error, nats.errors.AuthorizationError) or "authorization" in str(error).lower()


class _Reporter:
    """Logs what happens to a connection: transitions always, one and the same error once a minute."""

    def __init__(self, name: str, client: Client) -> None:
        self.connected = False
        self._client = client
        self.last: Exception | None = None
        self.refused: Exception | None = None
        self._log = _log.bind(connection=name)
        self._logged: tuple[str, float] = ("", 0.0)

    async def error(self, error: Exception) -> None:
        self.last = error
        if _is_refusal(error):
            self.refused = error
        if self._client.is_connecting and self._client._transport is not None:  # noqa: SLF001
            # nats-py forgets the socket of a handshake that failed.
            self._client._transport.close()  # type: ignore[no-untyped-call]  # noqa: SLF001
        text, now = describe(error), time.monotonic()
        known, at = self._logged
        if self.connected and (text != known or now - at > _SAME_ERROR_SECONDS):
            self._logged = (text, now)
            self._log.warning("nats_error", error=text)

    async def disconnected(self) -> None:
        if self.connected and not self._client.is_closed:
            self._log.warning("nats_disconnected")

    async def reconnected(self) -> None:
        self._logged = ("", 0.0)
        self._log.info("nats_reconnected")

    async def closed(self) -> None:
        if self.connected and self._client.last_error is not None:
            self._log.warning("nats_closed_by_server", error=self._client.last_error)


class Connection:
    """A client for a long life: made when first asked for, made anew when a server has closed it for good."""

    def __init__(self, section: NatsSection, *, name: str, timeout: float = 5) -> None:
        self._section = section
        self._name = name
        self._timeout = timeout
        self._client: Client | None = None
        self._closed = False
        self._making = asyncio.Lock()
        self._failures = 0
        self._failure: QupersyncError | None = None
        self._hooks: list[Callable[[Client], Awaitable[None]]] = []

    async def on_connect(self, hook: Callable[[Client], Awaitable[None]]) -> None:
        """Calls `hook` with the client, if there is one, and with every new one before anybody else gets it.

        A reconnect keeps client and subscriptions, and is no reason for a call.
        """
        self._hooks.append(hook)
        if self._client is not None and not self._client.is_closed:
            await hook(self._client)

    async def client(self) -> Client:
        """A client that is connected now; StreamUnavailableError at once while it reconnects."""
        client = self._client
        if client is None or client.is_closed:
            seen = self._failures
            async with self._making:
                if self._failure is not None and self._failures != seen:
                    raise self._failure  # the attempt this caller waited for has just failed
                client = self._client
                if client is None or client.is_closed:
                    client = await self._make()
        if not client.is_connected:
            raise _no_answer(self._section, client.last_error or TimeoutError())
        return client

    async def jetstream(self) -> JetStreamContext:
        """JetStream on a client that is connected now."""
        return (await self.client()).jetstream(timeout=self._timeout)

    async def close(self) -> None:
        """Closes the client; the connection cannot be used again."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(client.close(), self._timeout)

    async def _make(self) -> Client:
        if self._closed:
            raise StreamUnavailableError("the connection to NATS was closed by this process")
        try:
            client = await connect(self._section, name=self._name, timeout=self._timeout)
        except QupersyncError as error:
            self._failure = error
            self._failures += 1
            raise
        try:
            with translated("set up the connection"):
                for hook in self._hooks:
                    await hook(client)
        except BaseException:
            await client.close()
            raise
        self._client = client
        return client


# ------------------------------------------------------------------------------------------------------------ declaring


async def ensure_stream(js: JetStreamContext, pipeline: PipelineName, section: NatsSection) -> None:
    """Makes the pipeline's stream, or brings its limits and replicas to the configuration; safe to call at once."""
    name = stream_name(pipeline)
    with translated(f"declare stream {name}"):
        wanted = _stream_config(js, pipeline, section)
        try:
            found = (await js.stream_info(name)).config
        except nats.js.errors.NotFoundError:
            try:
                await js.add_stream(wanted)
            except nats.js.errors.APIError as error:
                if error.err_code in _FULL:
                    raise _no_room(name, wanted, error) from error
                if error.err_code != _NAME_IN_USE:
                    raise
                found = (await js.stream_info(name)).config  # somebody else made it just now
            else:
                _log.info("stream_made", stream=name, bytes_max=wanted.max_bytes, replicas=wanted.num_replicas)
                return
        changes = {field: value for field, value in _kept(wanted).items() if getattr(found, field) != value}
        if changes:
            await js.update_stream(found.evolve(**changes))
            _log.info("stream_updated", stream=name, changed=sorted(changes))


def _stream_config(js: JetStreamContext, pipeline: PipelineName, section: NatsSection) -> StreamConfig:
    # allow_direct stays off: a follower may answer a direct get, and the relay must see the leader's last message.
    return StreamConfig(
        name=stream_name(pipeline),
        description=f"Batch events of the qupersync pipeline {pipeline}",
        subjects=[stream_subjects(pipeline)],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_bytes=section.stream_bytes_max,
        max_msg_size=event_bytes_max(js._nc),  # noqa: SLF001  # the context has no accessor for its client
        num_replicas=section.replicas,
        deny_delete=True,
        allow_direct=False,
    )


def _no_room(name: str, wanted: StreamConfig, error: nats.js.errors.APIError) -> StreamFullError:
    return StreamFullError(
        f"cannot declare stream {name}: the server cannot set aside {wanted.max_bytes} bytes for it, which is "
        f"nats.stream_bytes_max ({error.description})",
        cure="Lower nats.stream_bytes_max, which every pipeline's stream takes, or raise the server's "
        "jetstream.max_file_store",
    )


def _kept(config: StreamConfig) -> dict[str, Any]:
    """What an existing stream is held to; storage and retention cannot be changed, and the server says so."""
    fields = ("subjects", "retention", "storage", "discard", "max_bytes", "max_msg_size", "num_replicas", "deny_delete")
    return {field: getattr(config, field) for field in fields}


def event_bytes_max(client: Client) -> int:
    """What one event may have, headers and body together, on this server."""
    return min(EVENT_BYTES_MAX, client.max_payload)


async def ensure_consumer(
    js: JetStreamContext, group: GroupName, pipeline: PipelineName, lane: Lane, ack_wait_seconds: float
) -> None:
    """Makes or updates the durable consumer of one lane in one loader group; its place in the stream is kept."""
    durable = durable_name(group, pipeline, lane)
    with translated(f"declare consumer {durable}"):
        await js.add_consumer(
            stream_name(pipeline),
            ConsumerConfig(
                name=durable,
                durable_name=durable,
                filter_subject=lane_subject(pipeline, lane),
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ack_wait_seconds,
                max_ack_pending=1,
                max_deliver=-1,
            ),
        )


async def ensure_bucket(js: JetStreamContext, *, replicas: int | None = None) -> None:
    """Makes the bucket `qupersync_progress`; `replicas` None makes one and leaves an existing bucket's alone."""
    stream = f"KV_{PROGRESS_BUCKET}"
    with translated(f"declare bucket {PROGRESS_BUCKET}"):
        try:
            found = (await js.stream_info(stream)).config
        except nats.js.errors.NotFoundError:
            config = KeyValueConfig(
                bucket=PROGRESS_BUCKET,
                description="Progress of loader groups and heartbeats of processes",
                history=1,
                max_bytes=PROGRESS_BYTES_MAX,
                storage=StorageType.FILE,
                replicas=replicas or 1,
                direct=True,
            )
            try:
                await js.create_key_value(config)
            except nats.js.errors.BadRequestError as error:
                if error.err_code != _NAME_IN_USE:
                    raise
            return
        if replicas is not None and found.num_replicas != replicas:
            await js.update_stream(found.evolve(num_replicas=replicas))


# --------------------------------------------------------------------------------------------------------------- errors


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Lets only errors of the tree out; `doing` completes "cannot …"."""
    try:
        yield
    except QupersyncError:
        raise
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise translate(error, doing=doing) from error


def translate(error: BaseException, *, doing: str = "") -> QupersyncError:  # noqa: PLR0911  # one line an error
    """The error of the tree for what nats-py raised: full, unavailable, or terminal where a request itself is wrong."""
    cannot = f"cannot {doing}: " if doing else ""
    match error:
        case QupersyncError():
            return error
        case nats.js.errors.APIError() if error.err_code in _FULL:
            return StreamFullError(
                f"{cannot}JetStream has no room: {error.description or 'maximum bytes exceeded'}",
                cure="Raise nats.stream_bytes_max or the server's jetstream.max_file_store, or let loaders catch up",
            )
        case nats.js.errors.APIError() if error.err_code == _STREAM_NOT_FOUND:
            return StreamUnavailableError(f"{cannot}the stream is missing", cure="Run `qupersync-extractor migrate`")
        case nats.js.errors.APIError(code=400):
            return TerminalError(f"{cannot}JetStream refuses: {error.description} (error {error.err_code})")
        case nats.js.errors.APIError():
            return StreamUnavailableError(
                f"{cannot}JetStream says: {error.description or 'unavailable'} (error {error.err_code or error.code})",
                cure="Look at the NATS server: JetStream must be enabled and its cluster have a leader",
            )
        case nats.js.errors.NoStreamResponseError() | nats.errors.NoRespondersError():
            return StreamUnavailableError(
                f"{cannot}nobody answers: the stream is missing, or JetStream is not enabled",
                cure="Run `qupersync-extractor migrate`; start nats-server with JetStream",
            )
        case nats.errors.MaxPayloadError():
            return TerminalError(f"{cannot}the message exceeds the server's max_payload")
        case nats.errors.BadSubjectError() | nats.errors.BadHeaderError():
            return TerminalError(f"{cannot}{error}")
        case TimeoutError():
            return StreamUnavailableError(
                f"{cannot}NATS did not answer in time",
                cure="Is the server under load, or does it deny the permission? (a denied request shows as a time-out)",
            )
        case _:
            return StreamUnavailableError(f"{cannot}{describe(error)}", cure="Look at the NATS server and the network")
