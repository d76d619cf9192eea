"""Which columns a pipeline's newest event has: what a target table will be asked to hold next."""

import nats.js.errors
from nats.js import JetStreamContext

from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.payload import decode
from qupersync_shared.contracts.schema import RowSchema, schema_of_arrow
from qupersync_shared.contracts.subjects import stream_name, stream_subjects
from qupersync_shared.kernel.errors import EventRefusedError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.jetstream import translated


async def last_schema(js: JetStreamContext, pipeline: PipelineName) -> RowSchema | None:
    """None where there is no event yet, or none that can be read."""
    with translated(f"read the newest event of {pipeline}"):
        try:
            message = await js.get_last_msg(stream_name(pipeline), stream_subjects(pipeline))
        except nats.js.errors.NotFoundError:
            return None
    try:
        envelope = BatchEnvelope.from_headers(message.headers or {})
        return schema_of_arrow(decode(message.data or b"").schema, envelope.key_columns)
    except (EventRefusedError, ValueError):
        return None
