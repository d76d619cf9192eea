"""What is asked of NATS: version, JetStream and its room, clock, `max_payload`, streams, and who runs there."""

import contextlib
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AccountInfo, StreamInfo
from pydantic import ValidationError

from qupersync_shared.contracts.envelope import EVENT_TYPE
from qupersync_shared.contracts.progress import STALE_SECONDS, ProcessHeartbeat
from qupersync_shared.contracts.subjects import PROGRESS_BUCKET, stream_name
from qupersync_shared.kernel.errors import QupersyncError, StreamUnavailableError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.console import bytes_shown
from qupersync_shared.runtime.jetstream import connect, translated
from qupersync_shared.runtime.plugins import CheckRow
from qupersync_shared.runtime.preflight import Preflight
from qupersync_shared.runtime.preflight.postgres import clock_row
from qupersync_shared.runtime.preflight.rows import failed, of_error, ok, warning
from qupersync_shared.runtime.settings import NatsSection

_AREA: Final = "nats"
_SERVER_MIN: Final = (2, 11)  # messages of the bucket have a time to live of their own
_SERVER_GOOD: Final = (2, 15)
_SECONDS: Final = 5.0
_FULL_SHARE: Final = 0.9
_MIGRATE: Final = "Run `qupersync-extractor migrate`"


async def check_nats(preflight: Preflight) -> list[CheckRow]:
    """Is NATS there, fit and roomy enough, and is what the configured pipelines need declared?"""
    configuration = preflight.configuration
    section = configuration.nats
    if section is None:
        return [failed(_AREA, "section", "missing", "Write `nats: {servers: [nats://localhost:4222]}`")]
    try:
        client = await connect(section, name="qupersync-check", timeout=_SECONDS, once=True)
    except StreamUnavailableError as error:
        return [of_error(_AREA, "server", error)]
    rows = [_server(client), payload_row(client.max_payload, configuration.extractor.event_bytes_max)]
    try:
        js = client.jetstream(timeout=_SECONDS)
        with translated("ask for JetStream"):
            account = await js.account_info()
        rows.append(_room(account))
        rows.extend([await _stream(js, PipelineName(name), section, account) for name in configuration.pipelines])
        rows.append(await _bucket(js))
        rows.extend(await _living(client))
    except QupersyncError as error:
        rows.append(of_error(_AREA, "JetStream", error))
    finally:
        await client.close()
    return rows


def _server(client: Client) -> CheckRow:
    found = client.connected_server_version
    said = f"nats-server {found.major}.{found.minor}.{found.patch} answers"
    return server_row(said, (found.major, found.minor))


def server_row(said: str, release: tuple[int, int]) -> CheckRow:
    """The row `server` of a release, as (major, minor)."""
    if release < _SERVER_MIN:
        return failed(_AREA, "server", said, "Renew it: progress needs 2.11, and 2.15 loses least in a crash")
    if release < _SERVER_GOOD:
        return warning(_AREA, "server", said, "Renew it when you can: 2.15 loses least in a crash")
    return ok(_AREA, "server", said)


def payload_row(max_payload: int, event_bytes_max: int) -> CheckRow:
    """Whether the server takes events as large as the extractor may make them; smaller ones are made where not."""
    limit = f"max_payload is {bytes_shown(max_payload)}"
    if max_payload < event_bytes_max:
        return warning(
            _AREA,
            "max_payload",
            f"{limit}, extractor.event_bytes_max {bytes_shown(event_bytes_max)}: events keep to the former",
            f"Raise max_payload of nats-server to 1MB, or write `extractor: {{event_bytes_max: {max_payload}}}`",
        )
    return ok(_AREA, "max_payload", f"{limit}, events keep to {bytes_shown(event_bytes_max)}")


def _room(account: AccountInfo) -> CheckRow:
    limit = account.limits.max_storage
    used = account.storage
    if limit <= 0:
        return ok(_AREA, "JetStream", f"enabled, {bytes_shown(used)} stored, without a limit of the account")
    said = f"enabled, {bytes_shown(used)} of {bytes_shown(limit)} stored"
    if used >= limit * _FULL_SHARE:
        return warning(_AREA, "JetStream", said, "Raise the account's storage limit before the streams fill it")
    return ok(_AREA, "JetStream", said)


async def _stream(js: JetStreamContext, pipeline: PipelineName, section: NatsSection, account: AccountInfo) -> CheckRow:
    subject, stream = f"stream of {pipeline}", stream_name(pipeline)
    with translated(f"look at stream {stream}"):
        try:
            info = await js.stream_info(stream)
        except nats.js.errors.NotFoundError:
            return failed(_AREA, subject, f"{stream} is not declared", _MIGRATE)
    return stream_row(subject, stream, info, section, storage_max=account.limits.max_storage, stored=account.storage)


def stream_row(
    subject: str, stream: str, info: StreamInfo, section: NatsSection, *, storage_max: int, stored: int
) -> CheckRow:
    """Whether a stream is declared as the configuration says, and may grow to its limit on every replica.

    `storage_max` is the account's limit in bytes (0 or less: none), `stored` what it has used of it.
    """
    replicas, limit = info.config.num_replicas or 1, info.config.max_bytes or -1
    said = f"{stream} is declared: {bytes_shown(info.state.bytes)} of {bytes_shown(limit)}, {replicas} replicas"
    said = said.removesuffix("s") if replicas == 1 else said
    if (limit, replicas) != (section.stream_bytes_max, section.replicas):
        wanted = f"{bytes_shown(section.stream_bytes_max)} and {section.replicas} replicas"
        return warning(_AREA, subject, f"{said}; the configuration says {wanted}", _MIGRATE)
    missing = max(0, limit - info.state.bytes) * replicas
    if 0 < storage_max < stored + missing:
        return warning(
            _AREA,
            subject,
            f"{said}; it may grow by {bytes_shown(missing)}, and the account has room for "
            f"{bytes_shown(max(0, storage_max - stored))}",
            "Raise the account's storage limit, or lower nats.stream_bytes_max",
        )
    return ok(_AREA, subject, said)


async def _bucket(js: JetStreamContext) -> CheckRow:
    stream = f"KV_{PROGRESS_BUCKET}"
    with translated(f"look at stream {stream}"):
        try:
            await js.stream_info(stream)
        except nats.js.errors.NotFoundError:
            return failed(_AREA, "stream of progress", f"{stream} is not declared", _MIGRATE)
    return ok(_AREA, "stream of progress", f"{stream} is declared")


async def _living(client: Client) -> list[CheckRow]:
    """The server's clock, and whether the processes that run speak the same version as this installation."""
    before = datetime.now(UTC)
    try:
        now = await bucket.server_time(client, timeout=_SECONDS)
        after = datetime.now(UTC)
        beats = await bucket.read(client, ["process.>"], timeout=_SECONDS)
    except StreamUnavailableError:
        return []  # without the bucket nobody tells; its own row has said so
    processes = []
    for entry in beats.values():
        if (now - entry.written_at).total_seconds() <= STALE_SECONDS:
            with contextlib.suppress(ValidationError):
                processes.append(ProcessHeartbeat.model_validate_json(entry.value))
    return [clock_row(_AREA, now, before, after), versions_row(processes, version("qupersync-shared"))]


def versions_row(processes: list[ProcessHeartbeat], own: str) -> CheckRow:
    """Whether every process that is alive is of our version."""
    others = sorted({f"{beat.role} {beat.instance} {beat.version}" for beat in processes if beat.version != own})
    said = f"{EVENT_TYPE}, qupersync {own}"
    if others:
        return warning(
            _AREA,
            "wire format",
            f"{said}; of another version: {', '.join(others)}",
            "Bring all processes to one version, loaders first",
        )
    alive = f"as the {len(processes)} processes that are alive" if processes else "and no process is alive"
    return ok(_AREA, "wire format", f"{said}, {alive}")
