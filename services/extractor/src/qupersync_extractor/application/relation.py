"""What the source says of a pipeline's relation: its row schema, and how far a run may read."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from qupersync_extractor.application.ports import Source
from qupersync_extractor.domain.pipeline import Pipeline, SourceEntity, SourceQuery
from qupersync_extractor.domain.timeline import CURSOR_KINDS, TEMPORAL, Horizon, horizon
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.positions import Scalar

WRITER_PATIENCE: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceHorizon:
    """The horizon, and its high as a moment."""

    horizon: Horizon
    high_time: datetime
    writer_open_since: datetime | None = None

    @property
    def high(self) -> Scalar:
        return self.horizon.high

    @property
    def reached(self) -> Scalar:
        return self.horizon.reached


async def row_schema(source: Source, pipeline: Pipeline) -> RowSchema:
    """The relation's schema; ConfigurationError when key or cursor do not fit it."""
    columns = await source.describe(pipeline.relation)
    place = f"pipelines.{pipeline.name}"
    names = [column.name for column in columns]
    for role, wanted in (("key", pipeline.key), ("cursor", (pipeline.cursor,) if pipeline.cursor else ())):
        for name in wanted:
            if name not in names:
                raise ConfigurationError(
                    f"{role} column {name!r} is not among the columns of {pipeline.relation}",
                    place=f"{place}.{role}",
                    cure=f"Choose among: {', '.join(names)}",
                )
    try:
        schema = RowSchema(columns=columns, key=pipeline.key)
    except ValueError as error:
        raise ConfigurationError(str(error), place=place, cure="Mend the key, or rename columns in a query") from error
    if pipeline.cursor is not None and schema.column(pipeline.cursor).type.scalar not in CURSOR_KINDS:
        raise ConfigurationError(
            f"cursor column {pipeline.cursor!r} is of type {schema.column(pipeline.cursor).type.name}",
            place=f"{place}.cursor",
            cure="A cursor is a timestamp, a date or an integer; without one, only snapshots run",
        )
    return schema


def shape_of(pipeline: Pipeline, schema: RowSchema, *, added: str | None = None) -> str:
    """What the stored cursor and the rows sent so far belong to: the schema's fingerprint (with the identity of columns
    that are `added`), and after a slash that of relation and cursor. When it changes, a snapshot is due.
    """
    kind = schema.column(pipeline.cursor).type.scalar if pipeline.cursor is not None else None
    relation = pipeline.relation.sql if isinstance(pipeline.relation, SourceQuery) else str(pipeline.relation)
    text = json.dumps([relation, pipeline.cursor, kind, pipeline.cursor_time_zone])
    rows = schema.fingerprint if added is None else f"{schema.fingerprint}+{added}"
    return f"{rows}/{hashlib.sha256(text.encode()).hexdigest()[:32]}"


async def horizon_of(source: Source, pipeline: Pipeline, schema: RowSchema) -> SourceHorizon | None:
    """How far a run that begins now may read; None without a cursor, or while an integer cursor has no value."""
    if pipeline.cursor is None:
        return None
    column = schema.column(pipeline.cursor)
    clock = await source.clock()
    kind = column.type.scalar
    if kind is None:
        return None
    if kind not in TEMPORAL:
        highest = await source.highest(pipeline.relation, column)
        if highest is None:
            return None
        return SourceHorizon(horizon=Horizon(high=highest, began_at=clock.now), high_time=clock.now)
    # System views are no part of anybody's transaction: a query's end shows in them whatever else is open.
    oldest_open = None if isinstance(pipeline.relation, SourceEntity) else clock.oldest_open
    limit = clock.now if oldest_open is None else min(clock.now, oldest_open)
    found = horizon(
        kind,
        now=clock.now,
        oldest_open=oldest_open,
        safety_lag=pipeline.safety_lag,
        time_zone=pipeline.cursor_time_zone,
    )
    patience = max(pipeline.lookback, WRITER_PATIENCE)
    held = oldest_open is not None and clock.now - oldest_open > patience
    return SourceHorizon(
        horizon=found,
        high_time=limit - pipeline.safety_lag,
        writer_open_since=oldest_open if held else None,
    )
