"""One target table: ours, of columns that fit, written to by this role, and behaving as upserts need it."""

from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from qupersync_loader.domain.pipeline import DeletePolicy, SchemaPolicy, TargetPipeline
from qupersync_loader.infrastructure.postgres.names import SLOT, quote, quote_table
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_loader.infrastructure.postgres.target_table import TargetTable
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import SchemaRefusedError
from qupersync_shared.runtime.database import raw_connection
from qupersync_shared.runtime.plugins import CheckRow
from qupersync_shared.runtime.preflight.rows import failed, of_error, ok, warning

_TABLE = "target table"
_RIGHTS = "target rights"
_COLUMNS = "target columns"
_BEHAVIOUR = "target behaviour"


async def table_rows(connection: AsyncConnection, pipeline: TargetPipeline, schema: RowSchema | None) -> list[CheckRow]:
    """The rows of one table. `schema` None: its columns are compared when the first event brings one."""
    await connection.execute(text("SELECT 1"))  # opens the transaction that the driver then reads in
    driver = await raw_connection(connection)
    owner = await driver.fetchrow(statement("owner"), pipeline.schema, pipeline.table)
    if owner is not None and (owner["group_name"], owner["pipeline"]) != (pipeline.group, pipeline.name):
        message = f"{pipeline.target} belongs to pipeline {owner['pipeline']} of loader group {owner['group_name']}"
        return [failed(pipeline.name, _TABLE, message, "Name another table in `into`")]
    found = await driver.fetchrow(statement("relation"), pipeline.schema, pipeline.table)
    if found is None:
        return await _missing(driver, pipeline)
    if found["kind"] not in {"r", "p"}:
        return [failed(pipeline.name, _TABLE, f"{pipeline.target} is not a table", "Name another table in `into`")]
    facts = await driver.fetchrow(statement("preflight_table"), found["oid"])
    return [
        await _adopted(driver, pipeline, found["oid"]),
        rights_row(pipeline, facts),
        await _columns_row(driver, pipeline, schema, facts, found["oid"]),
        behaviour_row(pipeline, facts),
    ]


async def _missing(driver: asyncpg.Connection, pipeline: TargetPipeline) -> list[CheckRow]:
    found = await driver.fetchrow(statement("preflight_schema"), pipeline.schema)
    table = ok(pipeline.name, _TABLE, f"{pipeline.target} will be made with the first event")
    if found["may"]:
        return [table, ok(pipeline.name, _RIGHTS, f"{found['role']} may make it")]
    if found["there"]:
        cure = f"GRANT USAGE, CREATE ON SCHEMA {quote(pipeline.schema)} TO {found['role']}"
        message = f"{found['role']} may not make tables in schema {pipeline.schema}"
    else:
        cure = f"CREATE SCHEMA {quote(pipeline.schema)} AUTHORIZATION {found['role']}; or GRANT CREATE ON DATABASE "
        cure += f"{found['database']} TO {found['role']}"
        message = f"schema {pipeline.schema} is not there, and {found['role']} may not make it"
    return [table, failed(pipeline.name, _RIGHTS, message, cure)]


async def _adopted(driver: asyncpg.Connection, pipeline: TargetPipeline, oid: int) -> CheckRow:
    columns = {row["name"] for row in await driver.fetch(statement("columns"), oid)}
    if SLOT not in columns and pipeline.adopt is None:
        message = f"{pipeline.target} is there, and not made by qupersync"
        cure = "If it has rows, write `adopt: keep` or `adopt: replace`"
        return warning(pipeline.name, _TABLE, message, cure)
    return ok(pipeline.name, _TABLE, f"{pipeline.target} is there")


def rights_row(pipeline: TargetPipeline, facts: Any) -> CheckRow:
    """Reading and writing, each missing right with its GRANT; and whether the role could alter the table."""
    role, table = facts["role"], quote_table(pipeline.schema, pipeline.table)
    needed = [word for word in facts["lacks"] if word != "DELETE" or pipeline.deletes is DeletePolicy.APPLY]
    grants = [f"GRANT {', '.join(needed)} ON {table} TO {role}"] if needed else []
    if not facts["may_use_schema"]:
        grants.insert(0, f"GRANT USAGE ON SCHEMA {quote(pipeline.schema)} TO {role}")
    if grants:
        missing = ", ".join([*([] if facts["may_use_schema"] else ["USAGE of its schema"]), *needed])
        return failed(pipeline.name, _RIGHTS, f"{role} lacks {missing} on {pipeline.target}", "; ".join(grants))
    if not facts["owned"] and pipeline.schema_policy is SchemaPolicy.EVOLVE:
        return warning(
            pipeline.name,
            _RIGHTS,
            f"{pipeline.target} belongs to {facts['owner']}: {role} reads and writes it, and cannot add new columns",
            f"GRANT {facts['owner']} TO {role}; or ALTER TABLE {table} OWNER TO {role}; or write `schema: freeze`",
        )
    return ok(pipeline.name, _RIGHTS, f"{role} reads and writes {pipeline.target}")


async def _columns_row(
    driver: asyncpg.Connection, pipeline: TargetPipeline, schema: RowSchema | None, facts: Any, oid: int
) -> CheckRow:
    if schema is None:
        return ok(pipeline.name, _COLUMNS, "compared when the first event brings the source's")
    try:
        changes = await TargetTable(driver, pipeline).would_change(oid, schema)
    except SchemaRefusedError as error:
        return of_error(pipeline.name, _COLUMNS, error)
    if not changes:
        return ok(pipeline.name, _COLUMNS, "types, key and unique index fit the source's")
    words = "; ".join(changes)
    if facts["owned"]:
        return ok(pipeline.name, _COLUMNS, f"will fit with the next event: {words}")
    return failed(
        pipeline.name,
        _COLUMNS,
        f"{pipeline.target} must be changed, and {facts['role']} does not own it",
        f"As {facts['owner']}: ALTER TABLE {quote_table(pipeline.schema, pipeline.table)} {', '.join(changes)}",
    )


def behaviour_row(pipeline: TargetPipeline, facts: Any) -> CheckRow:
    """Rules, row security, inheritance and triggers: what else happens to rows, or to statements."""
    table, role = quote_table(pipeline.schema, pipeline.table), facts["role"]
    if facts["rules"]:
        return failed(
            pipeline.name,
            _BEHAVIOUR,
            f"rules rewrite INSERT or UPDATE ({', '.join(facts['rules'])}): PostgreSQL refuses upserts there",
            "; ".join(f"DROP RULE {quote(name)} ON {table}" for name in facts["rules"]),
        )
    said, cures = [], []
    if facts["row_security"]:
        said.append(f"row-level security is in force for {role}: rows it hides are taken for missing")
        cures.append(f"ALTER ROLE {role} BYPASSRLS, or a policy FOR ALL USING (true)")
    if facts["children"]:
        said.append(
            f"{', '.join(facts['children'])} inherit from it: their rows are seen, and no unique index guards them"
        )
        cures.append("Take them apart: ALTER TABLE … NO INHERIT")
    if facts["triggers"]:
        said.append(f"triggers fire on what is loaded: {', '.join(facts['triggers'])}")
        cures.append(
            "Have them do little: one that raises puts rows into quarantine, one that changes a row is "
            "undone by the next snapshot"
        )
    if said:
        return warning(pipeline.name, _BEHAVIOUR, "; ".join(said), "; ".join(cures))
    kind = "partitioned, upserts go to its partitions" if facts["partitioned"] else "an ordinary table"
    return ok(pipeline.name, _BEHAVIOUR, f"{kind}, without triggers, rules or row security in the way")
