"""Does the table's layout help the reads, and do its rows fit into events?"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.application.pages import HEADER_BYTES
from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.application.probing import Layout
from qupersync_extractor.domain.pipeline import SourceQuery, SourceTable
from qupersync_extractor.interface.preflight.probes import Look
from qupersync_shared.contracts.payload import encode
from qupersync_shared.runtime.console import bytes_shown
from qupersync_shared.runtime.plugins import CheckRow, Verdict
from qupersync_shared.runtime.preflight.rows import ok, warning

_SMALL_ROWS: Final = 10_000  # so few are scanned at once anyway
_FIRST_ROWS: Final = 50  # which teach how many more may be fetched
_SAMPLE_BYTES_MAX: Final = 16 << 20
_ENCODED_MAX: Final = 20  # the widest in memory, each encoded alone: compression may turn their order round


async def sort_key_row(look: Look) -> CheckRow:
    """The row `sort key`: whether reads by cursor or key can leave out what lies outside their range."""
    pipeline = look.pipeline
    if look.is_entity:
        return ok(look.area, "sort key", f"{pipeline.relation} stands on system views: there is nothing to choose")
    if isinstance(pipeline.relation, SourceQuery):
        return ok(look.area, "sort key", "of a query it cannot be known")
    layout = await look.probe.layout(pipeline.relation)
    if layout is None:
        return ok(look.area, "sort key", f"{pipeline.relation} is a view, or its warehouse has no sort keys")
    advice = sort_key_advice(look, layout)
    if advice.verdict is Verdict.OK:
        return advice
    seen = await look.probe.look_for_nulls(pipeline.relation, pipeline.key[:1], _SMALL_ROWS)
    return ok(look.area, "sort key", f"of {seen.rows:,} rows it does not matter") if seen.complete else advice


def sort_key_advice(look: Look, layout: Layout) -> CheckRow:
    """The advice for a table of which the layout is known."""
    pipeline = look.pipeline
    wanted = pipeline.cursor or pipeline.key[0]
    role = "cursor" if pipeline.cursor else "key"
    first = layout.sort_key[0] if layout.sort_key else None
    if first == wanted:
        return ok(look.area, "sort key", f"begins with {wanted}, the {role}: reads skip what lies outside their range")
    relation = pipeline.relation
    table = f"{relation.schema}.{relation.name}" if isinstance(relation, SourceTable) else str(relation)
    has = f"is ({', '.join(layout.sort_key)})" if layout.sort_key else "is not set"
    return warning(
        look.area,
        "sort key",
        f"{has}: every read by {role} scans the whole column {wanted}",
        f"ALTER TABLE {table} ALTER SORTKEY ({wanted})",
    )


async def width_row(look: Look, *, event_bytes_max: int) -> CheckRow:
    """The row `row width`: the widest encoded row of a sample, and the declared maximum, against an event's limit."""
    room = event_bytes_max - HEADER_BYTES
    batch = await _sample(look)
    if not batch.num_rows:
        return ok(look.area, "row width", "there are no rows to measure")
    widest = widest_encoded(batch)
    layout = None if look.is_entity else await look.probe.layout(look.pipeline.relation)
    declared = None if layout is None else layout.row_bytes_max
    seen = f"the widest of {batch.num_rows:,} rows takes {bytes_shown(widest)} as an event"
    limit = f"an event holds {bytes_shown(room)}"
    if widest > room:
        return warning(
            look.area,
            "row width",
            f"{seen}, and {limit}: such rows are withheld and quarantined",
            "Raise max_payload of nats-server (to 1MB at most) and extractor.event_bytes_max, or leave wide columns "
            "out in a query",
        )
    if declared is not None and declared > room:
        return ok(
            look.area,
            "row width",
            f"{seen}; by its declared types a row may have {bytes_shown(declared)}, and {limit}: one that exceeds it "
            "when compressed would be quarantined",
        )
    return ok(look.area, "row width", f"{seen}, and {limit}")


async def _sample(look: Look) -> pa.RecordBatch:
    """The first rows in key order, as many as memory may hold."""
    first = await _read(look, min(_FIRST_ROWS, look.bounds.sample_rows))
    if first.num_rows < _FIRST_ROWS:
        return first
    affordable = int(_SAMPLE_BYTES_MAX / max(1.0, first.nbytes / first.num_rows))
    rows = min(look.bounds.sample_rows, affordable)
    return first if rows <= first.num_rows else await _read(look, rows)


async def _read(look: Look, rows: int) -> pa.RecordBatch:
    wanted = ReadRequest(relation=look.pipeline.relation, schema=look.schema, range=KeyRange(after=None), limit=rows)
    batch = await look.source.read(wanted)
    return batch.select(list(look.schema.names))  # rows that cannot travel are told in one more column


def widest_encoded(batch: pa.RecordBatch) -> int:
    """The bytes of the widest row, each encoded as the only one of its event; 0 without rows."""
    if not batch.num_rows:
        return 0
    widths = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            widths += np.asarray(pc.fill_null(pc.binary_length(column), 0), np.int64)
    widest = np.argsort(widths)[::-1][:_ENCODED_MAX]
    return max(len(encode(batch.slice(int(index), 1))) for index in widest)
