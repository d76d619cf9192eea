"""Which columns the next events of a pipeline will bring: as the source's side tells, else as the stream does."""

from typing import Final

from qupersync_loader.infrastructure.nats.last_schema import last_schema
from qupersync_loader.settings import LoaderSettings
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.jetstream import connect
from qupersync_shared.runtime.preflight import SchemaBoard

TOLD_SECONDS: Final = 30.0
_NATS_SECONDS: Final = 3.0


async def schema_of(pipeline: PipelineName, settings: LoaderSettings, board: SchemaBoard) -> RowSchema | None:
    """None where neither source nor stream can be asked, or nothing was published yet."""
    told = await board.schema(pipeline, seconds=TOLD_SECONDS)
    if told is not None:
        return told
    try:
        client = await connect(settings.nats, name="qupersync-check", timeout=_NATS_SECONDS, once=True)
    except QupersyncError:
        return None
    try:
        return await last_schema(client.jetstream(timeout=_NATS_SECONDS), pipeline)
    except QupersyncError:
        return None
    finally:
        await client.close()
