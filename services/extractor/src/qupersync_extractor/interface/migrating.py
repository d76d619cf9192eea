"""`qupersync-extractor migrate`: the outbox database, then one stream per pipeline and the progress bucket."""

from qupersync_extractor.infrastructure.jetstream.stream import JetStreamStream
from qupersync_extractor.infrastructure.postgres.schema import migrate_outbox
from qupersync_extractor.settings import extractor_settings
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.settings import Configuration

_log = get_logger(__name__)


async def migrate_all(configuration: Configuration, *, path: str) -> None:
    """Safe to run twice, and twice at once. QupersyncError where database or NATS cannot be reached."""
    settings = extractor_settings(configuration, path=path)
    applied = await migrate_outbox(settings.outbox_dsn, retention=settings.outbox_retention)
    _log.info("outbox_migrated", revisions=",".join(applied) or "none")
    connection = Connection(settings.nats, name="qupersync-migrate")
    try:
        stream = JetStreamStream(connection, settings.nats)
        for pipeline in settings.pipelines:
            await stream.declare(pipeline.name)
    finally:
        await connection.close()
    _log.info("streams_declared", pipelines=len(settings.pipelines))
