"""What is in the way of tables changing names: what the catalogue says, and rows that only the live table has."""

import re
from typing import Final

import asyncpg

from qupersync_loader.application.shadows import Obstacle
from qupersync_loader.domain.pipeline import DeletePolicy, TargetPipeline
from qupersync_loader.infrastructure.postgres.filled import decode_filled
from qupersync_loader.infrastructure.postgres.names import DELETED_AT, SEQUENCE, SLOT, SYNCED_AT, quote, quote_table
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import SchemaRefusedError

_OWN: Final = frozenset({SYNCED_AT, SEQUENCE, SLOT, DELETED_AT})
_MERGE: Final = "or merge the rows instead (--merge)"
_WORDS: Final = {
    "kind": ("it is no plain table", "Merge the rows instead (--merge)"),
    "inheritance": ("it inherits or is inherited from: {}", f"End the inheritance, {_MERGE}"),
    "owner": ("it belongs to {}, whose rights this role does not have", f"GRANT that role to this one, {_MERGE}"),
    "schema": (
        "this role may not make tables in schema {}",
        "GRANT CREATE ON SCHEMA: the rows are loaded into a table beside this one, also where they are merged then",
    ),
    "tablespace": (
        "this role may not make tables in tablespace {}",
        "GRANT CREATE ON TABLESPACE: the rows are loaded into a table beside this one, also where they are merged then",
    ),
    "reference": ("foreign key {} refers to it", f"Drop that key and add it again afterwards, {_MERGE}"),
    "own reference": ("its foreign key {} refers to itself", f"Drop that key and add it again afterwards, {_MERGE}"),
    "materialized view": ("materialized view {} reads it", f"Drop it and make it again afterwards, {_MERGE}"),
    "view": (
        "view {} reads it, and this role may not replace that",
        f"GRANT the view's owner to this role and CREATE on its schema, {_MERGE}",
    ),
    "rule": ("it has rule {}", f"Drop the rule, {_MERGE}"),
    "dependant": ("{} depends on it", f"Drop that and make it again afterwards, {_MERGE}"),
    "extension": ("{} is tied to an extension", f"Untie it, {_MERGE}"),
    "label": ("{} has a security label", f"Remove the label and set it again afterwards, {_MERGE}"),
    "subscription": ("subscription {} writes into it", f"Take it out of the publication on the other side, {_MERGE}"),
    "whole publication": (
        "publication {} publishes everything, and would publish what is loaded beside it too",
        "Name its tables one by one in the publication; merging would publish the shadow as well",
    ),
    "publication": ("publication {} belongs to another role", f"GRANT that role to this one, {_MERGE}"),
    "grant": ("role {} has handed on rights to it", f"Grant them as the owner, {_MERGE}"),
    "hidden rows": (
        "row security hides rows from this role, so nothing can be compared",
        "ALTER TABLE … NO FORCE ROW LEVEL SECURITY, or give this role BYPASSRLS",
    ),
    "silent foreign key": ("foreign key {} has disabled triggers", f"Enable them, {_MERGE}"),
}
# Defaults that say the same for every row, whenever they are asked.
_CONSTANT: Final = re.compile(
    r"(?:-?\d+(?:\.\d+)?|'(?:[^']|'')*'|true|false|NULL)(?:::[\w\s.\"\[\]]+(?:\(\d+(?:,\d+)?\))?)?"
)


async def catalogue_obstacles(driver: asyncpg.Connection, live: TargetPipeline) -> list[Obstacle]:
    """What the catalogue and the pipeline's policies forbid; takes milliseconds."""
    oid = await relation(driver, live)
    found = []
    for row in await driver.fetch(statement("table_obstacles"), oid):
        what, cure = _WORDS[row["kind"]]
        found.append(Obstacle(what=f"{live.target}: {what.format(row['what'])}", cure=cure))
    if live.deletes is not DeletePolicy.APPLY:
        found.append(
            Obstacle(
                what=f"{live.target}: `deletes: {live.deletes}` keeps rows there that no event speaks of any more",
                cure="Merge the rows instead (--merge)",
            )
        )
    return found


async def content_obstacles(driver: asyncpg.Connection, live: TargetPipeline, schema: RowSchema) -> list[Obstacle]:
    """What stands in the live table and did not come from the source; reads the table once."""
    columns = await driver.fetch(statement("table_defaults"), await relation(driver, live))
    filled = await filled_columns(driver, live)
    table = quote_table(live.schema, live.table)
    names = {row["name"] for row in columns}
    checks = {}
    if SLOT in names and live.deletes is DeletePolicy.APPLY:
        checks[f"{live.target}: rows that had been there before the pipeline (`adopt: keep`)"] = f"t.{SLOT} IS NULL"
    for row in columns:
        name = row["name"]
        # What the source has dropped since, the shadow has as the live table has it: by the same events.
        strange = name not in schema.names and name not in filled
        if strange and name not in _OWN and not row["generated"]:
            checks[f"{live.target}: column {name!r} holds what the source does not fill"] = _strange(row)
    if not checks:
        return []
    asked = ", ".join(f"coalesce(bool_or({condition}), false)" for condition in checks.values())
    answers = await driver.fetchrow(f"SELECT {asked} FROM {table} AS t")  # noqa: S608  # quoted
    return [
        Obstacle(what=what, cure="Merge the rows instead (--merge), or empty what is not needed")
        for what, answer in zip(checks, answers, strict=True)
        if answer
    ]


async def filled_columns(driver: asyncpg.Connection, live: TargetPipeline) -> frozenset[str]:
    """The columns of a pipeline's table that its events have filled, dropped ones included."""
    found = await driver.fetchval(statement("filled"), live.group, live.name)
    return frozenset() if found is None else frozenset(decode_filled(found).columns)


async def relation(driver: asyncpg.Connection, pipeline: TargetPipeline) -> int:
    """The oid of a pipeline's table; SchemaRefusedError where there is none."""
    found = await driver.fetchrow(statement("relation"), pipeline.schema, pipeline.table)
    if found is None:
        raise SchemaRefusedError(
            f"there is no table {pipeline.target}", cure="A loader makes it: start one, and nothing needs to be rebuilt"
        )
    return int(found["oid"])


def _strange(row: asyncpg.Record) -> str:
    """Whether a row holds something in the column that a new one would not have by itself."""
    column, default = f"t.{quote(row['name'])}", row["default"]
    if row["identity"]:
        return "true"
    if default is None:
        return f"{column} IS NOT NULL"
    if _CONSTANT.fullmatch(default):
        return f"{column}::text IS DISTINCT FROM ({default})::{row['type']}::text"
    return "true"
