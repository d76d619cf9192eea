"""`qupersync sample --from target`: rows of the target table, as PostgreSQL holds them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from qupersync_loader.infrastructure.postgres.names import quote, quote_table
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.database import connect, translated
from qupersync_shared.runtime.sampling import Sample
from qupersync_shared.runtime.settings import Configuration
from qupersync_shared.runtime.settings.loading import require_dsn
from qupersync_shared.runtime.settings.model import split_table

_SECONDS_MAX: Final = 600.0  # the whole table is hashed once
_NATIVE: Final = frozenset({"smallint", "integer", "bigint", "boolean"})
_FLOATS: Final = frozenset({"real", "double precision"})
_WORDS: Final = "SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL extra_float_digits = 1"


async def take_sample(configuration: Configuration, name: str, rows: int) -> Sample:
    """The rows whose keys have the least MD5s, in that order; every column of the table, ours too."""
    section = configuration.pipelines[name]
    schema, table = split_table(section.into)
    dsn = require_dsn("target", configuration.target, configuration.place)
    driver = await connect(
        dsn, name="target", application_name="qupersync-sample", statement_timeout_seconds=_SECONDS_MAX
    )
    try:
        with translated():
            async with driver.transaction(readonly=True):
                await driver.execute(_WORDS)
                columns = await _columns(driver, schema, table, section.key)
                text = sample_statement(schema, table, columns, section.key)
                found = await driver.fetch(text, rows)
    finally:
        await driver.close()
    return Sample(
        relation=section.into,
        key=tuple(section.key),
        columns=columns,
        rows=[shown(row, columns) for row in found],
    )


async def _columns(driver: asyncpg.Connection, schema: str, table: str, key: Sequence[str]) -> list[tuple[str, str]]:
    """Names and types in the table's order; QupersyncError where there is no such table, or not with this key."""
    found = await driver.fetchrow(statement("relation"), schema, table)
    if found is None:
        raise QupersyncError(
            f"{schema}.{table} is not there yet", cure="It is made with the first event; or look at --from source"
        )
    columns = [(str(row["name"]), str(row["type"])) for row in await driver.fetch(statement("columns"), found["oid"])]
    missing = [name for name in key if name not in dict(columns)]
    if missing:
        raise QupersyncError(
            f"{schema}.{table} has no column {missing[0]!r}, which is part of the key",
            cure="Mend the key, or look at --from source",
        )
    return columns


def sample_statement(schema: str, table: str, columns: Sequence[tuple[str, str]], key: Sequence[str]) -> str:
    """$1 is the number of rows. Of a key of several columns the MD5s are joined and hashed again, as at the source."""
    kinds = dict(columns)
    digests = [f"md5({_hashed(name, kinds[name])})" for name in key]
    digest = digests[0] if len(digests) == 1 else f"md5({' || '.join(digests)})"
    selected = ", ".join(f"{_selected(name, kind)} AS {quote(name)}" for name, kind in columns)
    ordered = ", ".join([digest, *(f"t.{quote(name)}" for name in key)])
    return f"SELECT {selected} FROM {quote_table(schema, table)} AS t ORDER BY {ordered} LIMIT $1"  # noqa: S608  # quoted


def _selected(name: str, kind: str) -> str:
    own = f"t.{quote(name)}"
    if kind in _NATIVE:
        return own
    return f"encode({own}, 'hex')" if kind == "bytea" else f"{own}::text"


def _hashed(name: str, kind: str) -> str:
    """The canonical text of a key's value, as far as SQL can write it."""
    own = f"t.{quote(name)}"
    if kind == "bytea":
        return f"encode({own}, 'hex')"
    return f"rtrim({own}::text, ' ')" if kind == "text" or kind.startswith("character") else f"{own}::text"


def shown(row: Mapping[str, Any], columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The row as JSON can hold it: floating-point numbers as such, unless they are NaN or infinite."""
    return {name: _number(row[name]) if kind in _FLOATS else row[name] for name, kind in columns}


def _number(text: str | None) -> float | str | None:
    if text is None:
        return None
    return float(text) if math.isfinite(float(text)) else text
