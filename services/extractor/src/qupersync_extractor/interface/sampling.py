"""`qupersync sample --from source`: rows of a table, query or entity, as extraction reads them."""

import hashlib
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa

from qupersync_extractor.application.entities import READY_MADE
from qupersync_extractor.application.ports import KeyList, KeyRange, ReadRequest, Source
from qupersync_extractor.application.probing import SourceProbe
from qupersync_extractor.application.relation import row_schema
from qupersync_extractor.domain.pipeline import Pipeline, SourceEntity
from qupersync_extractor.infrastructure.sources import build_probe, build_source
from qupersync_extractor.settings import pipeline_of
from qupersync_shared.contracts.infinity import plain
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import key_at
from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.errors import ConfigurationError, TerminalError
from qupersync_shared.runtime.sampling import Sample
from qupersync_shared.runtime.settings import Configuration

_ENTITY_ROWS_MAX: Final = 10_000


async def take_sample(configuration: Configuration, name: str, rows: int) -> Sample:
    """The rows whose keys have the least MD5s; of an entity, of its first 10,000 rows in key order."""
    if configuration.source is None:
        raise ConfigurationError(
            "source is missing", place=configuration.place, cure="Write `source: {kind: redshift, host: …}`"
        )
    pipeline = pipeline_of(name, configuration.pipelines[name])
    source, probe = (
        build_source(configuration.source, configuration.place),
        build_probe(configuration.source, configuration.place),
    )
    try:
        schema = await row_schema(source, pipeline)
        batch = await chosen_rows(source, probe, pipeline, schema, rows)
    finally:
        await source.close()
        await probe.close()
    batch = batch.select(list(schema.names))  # rows that cannot travel are told in one more column
    found = [plain_values(batch, schema, index) for index in range(batch.num_rows)]
    derived = [derived_values(pipeline.entity, values) for values in found]
    # A column of the source's own by such a name is what there is to show.
    names = [name for name in next(filter(None, derived), {}) if name not in schema.names]
    return Sample(
        relation=str(pipeline.relation),
        key=schema.key,
        columns=[(column.name, column.type.name) for column in schema.columns],
        rows=[
            {**shown(values, schema), **{name: extra.get(name) for name in names}}
            for values, extra in zip(found, derived, strict=True)
        ],
        derived=names,
    )


async def chosen_rows(
    source: Source, probe: SourceProbe, pipeline: Pipeline, schema: RowSchema, count: int
) -> pa.RecordBatch:
    """At most `count` rows, in the order of their keys' MD5s."""
    if isinstance(pipeline.relation, SourceEntity):
        wanted = ReadRequest(
            relation=pipeline.relation, schema=schema, range=KeyRange(after=None), limit=_ENTITY_ROWS_MAX
        )
        batch = await source.read(wanted)
        order = sorted(range(batch.num_rows), key=key_digests(batch, schema).__getitem__)
        return batch.take(pa.array(order[:count], pa.int64()))
    key_schema = RowSchema(columns=schema.key_columns, key=schema.key)
    found = await probe.sample_keys(pipeline.relation, key_schema, count)
    keys = list(dict.fromkeys(key_at(found, key_schema, index) for index in range(found.num_rows)))
    limit = 2 * count + 1  # a key may stand in several rows
    listed = KeyList(keys=tuple(keys))
    batch = await source.read(ReadRequest(relation=pipeline.relation, schema=schema, range=listed, limit=limit))
    places = {key: place for place, key in enumerate(keys)}
    order = sorted(range(batch.num_rows), key=lambda index: places.get(key_at(batch, schema, index), len(places)))
    return batch.take(pa.array(order[:count], pa.int64()))


def key_digests(batch: pa.RecordBatch, schema: RowSchema) -> list[str]:
    """Of each row as SQL makes it of tables: the MD5 of its key's text, or of the MD5s of several texts, joined."""
    columns = [(batch.column(column.name), column.type) for column in schema.key_columns]
    digests = [[_md5(str(shown_value(plain(value), kind))) for value in values] for values, kind in columns]
    return [one[0] if len(one) == 1 else _md5("".join(one)) for one in zip(*digests, strict=True)]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def plain_values(batch: pa.RecordBatch, schema: RowSchema, index: int) -> dict[str, Any]:
    """One row as Python has it."""
    return {name: plain(batch.column(place)[index]) for place, name in enumerate(schema.names)}


def derived_values(entity: str | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from an entity's fields; nothing where the row is no valid one of it, which a sample is to show."""
    known = READY_MADE.get(entity or "")
    if known is None:
        return {}
    try:
        return dict(known.from_row(values).derived())
    except (TerminalError, ValueError, TypeError):
        return {}


def shown(values: Mapping[str, Any], schema: RowSchema) -> dict[str, Any]:
    """The row as JSON can hold it, exactly."""
    return {column.name: shown_value(values[column.name], column.type) for column in schema.columns}


def shown_value(value: Any, logical: LogicalType) -> Any:  # noqa: PLR0911  # one line a type
    """Exact: numerics, moments and bytes as text, as the target writes them; NaN and infinity by name."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not np.isfinite(value):
                return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
            return float(str(np.float32(value))) if logical.kind is Kind.REAL else value
        case Decimal():
            return format(value, "f")
        case bytes():
            return str(UUID(bytes=value)) if logical.kind is Kind.UUID else value.hex()
        case datetime():
            zone = "+00" if logical.kind is Kind.TIMESTAMPTZ else ""
            return _trimmed(value.replace(tzinfo=None).isoformat(sep=" ")) + zone
        case time():
            return _trimmed(value.isoformat())
        case date():
            return value.isoformat()
        case _:
            return str(value)


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
