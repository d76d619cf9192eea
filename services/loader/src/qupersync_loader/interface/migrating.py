"""`qupersync-loader migrate`: the loader's tables in the target database, then the lanes' consumers and the bucket."""

import asyncio

from qupersync_loader.infrastructure.nats.feed import NatsLaneFeed
from qupersync_loader.infrastructure.postgres.schema import migrate_target
from qupersync_loader.settings import MIGRATE_WAIT_SECONDS, LoaderSettings
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.runtime.instance import instance_name
from qupersync_shared.runtime.jetstream import Connection, ensure_bucket
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.retry import Backoff

_log = get_logger(__name__)


async def migrate_all(settings: LoaderSettings, *, wait_seconds: float = MIGRATE_WAIT_SECONDS) -> None:
    """Safe to run twice, and twice at once. A stream that is not there yet is waited for, then named."""
    applied = await migrate_target(settings.target_dsn)
    _log.info("target_migrated", revisions=",".join(applied) or "none")
    connection = Connection(settings.nats, name=f"qupersync-migrate-{instance_name()}")
    feed = NatsLaneFeed(settings.nats, connection, name="qupersync-migrate", ack_wait_seconds=settings.ack_wait_seconds)
    try:
        lanes = await _declare(settings, connection, feed, wait_seconds)
    finally:
        await feed.close()
        await connection.close()
    _log.info("consumers_declared", pipelines=len(settings.pipelines), lanes=lanes)


async def _declare(settings: LoaderSettings, connection: Connection, feed: NatsLaneFeed, wait_seconds: float) -> int:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_seconds
    backoff = Backoff(first_seconds=0.2, cap_seconds=2.0)
    reason = ""
    while True:
        try:
            await ensure_bucket(await connection.jetstream())
            return sum([len(await feed.discover(pipeline)) for pipeline in settings.pipelines])
        except StreamUnavailableError as error:
            if loop.time() >= deadline:
                raise
            if str(error) != reason:
                reason = str(error)
                _log.info("waiting_for_streams", reason=reason)
        await asyncio.sleep(backoff.next())
