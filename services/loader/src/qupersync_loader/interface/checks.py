"""The loader's part of `qupersync check`: target, rights, tables, and each pipeline's target table."""

import asyncio
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_loader.bootstrap import target_engine
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.schema import pending_revisions
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_loader.settings import LoaderSettings, loader_settings
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.database import raw_connection, translated
from qupersync_shared.runtime.logs import describe
from qupersync_shared.runtime.plugins import CheckRow, Verdict
from qupersync_shared.runtime.settings import Configuration

PROBE_SECONDS: Final = 3.0
_AREA: Final = "target"


async def loader_checks(configuration: Configuration) -> list[CheckRow]:
    """Rows for the target database and every target table; nothing is changed there."""
    try:
        settings = loader_settings(configuration)
    except QupersyncError as error:
        return [_failed(_AREA, "section", error)]
    engine = target_engine(settings, application_name="qupersync-check", connections=2)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return await _rows(engine, settings)
    except TimeoutError:
        message = f"it did not answer within {PROBE_SECONDS:g} s"
        return [CheckRow(area=_AREA, subject="connection", verdict=Verdict.UNKNOWN, message=message)]
    except QupersyncError as error:
        return [_failed(_AREA, "connection", error)]
    finally:
        await engine.dispose()


async def _rows(engine: AsyncEngine, settings: LoaderSettings) -> list[CheckRow]:
    with translated():
        async with engine.connect() as connection:
            rows = [await _rights(connection), _ok(_AREA, "connection", "answers")]
            waiting = await pending_revisions(engine)
            if waiting:
                message, cure = f"not migrated: {', '.join(waiting)} to apply", "Run `qupersync-loader migrate`"
                rows.append(_bad(_AREA, "tables", Verdict.FAILED, message, cure))
                return rows
            rows.append(_ok(_AREA, "tables", "migrated"))
            return rows + [await _table(connection, pipeline) for pipeline in settings.pipelines]


async def _rights(connection: AsyncConnection) -> CheckRow:
    found = await connection.execute(
        text(
            "SELECT has_database_privilege(current_database(), 'TEMP') AS temp, "
            "has_schema_privilege('public', 'CREATE') AS public, current_user AS role, current_database() AS name"
        )
    )
    row = found.mappings().one()
    if not row["temp"]:
        cure = f"GRANT TEMPORARY ON DATABASE {row['name']} TO {row['role']}"
        return _bad(_AREA, "rights", Verdict.FAILED, "temporary tables are not allowed, and staging needs them", cure)
    if not row["public"]:
        cure = f"GRANT CREATE ON SCHEMA public TO {row['role']}"
        return _bad(_AREA, "rights", Verdict.WARNING, "tables cannot be made in schema public", cure)
    return _ok(_AREA, "rights", "temporary tables, and tables in schema public")


async def _table(connection: AsyncConnection, pipeline: TargetPipeline) -> CheckRow:
    """Whether the target table is there and ours; its columns are compared when the first event brings a schema."""
    driver = await raw_connection(connection)
    owner = await driver.fetchrow(statement("owner"), pipeline.schema, pipeline.table)
    if owner is not None and (owner["group_name"], owner["pipeline"]) != (pipeline.group, pipeline.name):
        message = f"{pipeline.target} belongs to pipeline {owner['pipeline']} of loader group {owner['group_name']}"
        return _bad(pipeline.name, "target table", Verdict.FAILED, message, "Name another table in `into`")
    found = await driver.fetchrow(statement("relation"), pipeline.schema, pipeline.table)
    if found is None:
        return _ok(pipeline.name, "target table", f"{pipeline.target} will be made with the first event")
    if found["kind"] not in {"r", "p"}:
        message = f"{pipeline.target} is not a table"
        return _bad(pipeline.name, "target table", Verdict.FAILED, message, "Name another table in `into`")
    columns = {row["name"] for row in await driver.fetch(statement("columns"), found["oid"])}
    if "_qs_slot" not in columns and pipeline.adopt is None:
        message = f"{pipeline.target} is there, and not made by qupersync"
        cure = "If it has rows, write `adopt: keep` or `adopt: replace`"
        return _bad(pipeline.name, "target table", Verdict.WARNING, message, cure)
    return _ok(pipeline.name, "target table", f"{pipeline.target} is there")


def _ok(area: str, subject: str, message: str) -> CheckRow:
    return CheckRow(area=area, subject=subject, verdict=Verdict.OK, message=message)


def _bad(area: str, subject: str, verdict: Verdict, message: str, cure: str) -> CheckRow:
    return CheckRow(area=area, subject=subject, verdict=verdict, message=message, cure=cure)


def _failed(area: str, subject: str, error: QupersyncError) -> CheckRow:
    if error.cure:
        return _bad(area, subject, Verdict.FAILED, error.message, error.cure)
    return _bad(area, subject, Verdict.FAILED, describe(error), "")
