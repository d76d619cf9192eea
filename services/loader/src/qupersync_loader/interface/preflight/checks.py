"""Every row that the loader has to say: the target database, then each pipeline's target table."""

import asyncio
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_loader.infrastructure.postgres.schema import pending_revisions
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_loader.interface.preflight.schemas import schema_of
from qupersync_loader.interface.preflight.tables import table_rows
from qupersync_loader.settings import LoaderSettings, loader_settings
from qupersync_loader.stores import target_engine
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.database import raw_connection, translated
from qupersync_shared.runtime.plugins import CheckRow
from qupersync_shared.runtime.preflight import Preflight, SchemaBoard
from qupersync_shared.runtime.preflight.postgres import server_rows
from qupersync_shared.runtime.preflight.rows import failed, of_error, of_trouble, ok, unknown

PROBE_SECONDS: Final = 5.0
_AREA: Final = "target"


async def loader_checks(preflight: Preflight) -> list[CheckRow]:
    """Rows for the target database and every target table; nothing is changed there."""
    try:
        settings = loader_settings(preflight.configuration)
    except QupersyncError as error:
        return [of_error(_AREA, "section", error)]
    engine = target_engine(settings, application_name="qupersync-check", connections=1)
    try:
        rows, fit = await database_rows(engine)
        if fit:
            rows += await pipelines_rows(engine, settings, preflight.schemas)
        return rows
    finally:
        await engine.dispose()


async def database_rows(engine: AsyncEngine) -> tuple[list[CheckRow], bool]:
    """Rows of the database at large, and whether single tables can be looked at."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return await _database(engine)
    except TimeoutError:
        return [unknown(_AREA, "connection", f"it did not answer within {PROBE_SECONDS:g} s")], False
    except QupersyncError as error:
        return [of_error(_AREA, "connection", error)], False


async def pipelines_rows(engine: AsyncEngine, settings: LoaderSettings, board: SchemaBoard) -> list[CheckRow]:
    """The rows of every target table, one after the other; what is wrong with one keeps no other away."""
    rows: list[CheckRow] = []
    for pipeline in settings.pipelines:
        schema = await schema_of(pipeline.name, settings, board)
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                with translated():
                    async with engine.connect() as connection:
                        rows += await table_rows(connection, pipeline, schema)
        except TimeoutError:
            rows.append(unknown(pipeline.name, "target table", f"no answer within {PROBE_SECONDS:g} s"))
        except QupersyncError as error:
            rows.append(of_trouble(pipeline.name, "target table", error))
    return rows


async def _database(engine: AsyncEngine) -> tuple[list[CheckRow], bool]:
    waiting = await pending_revisions(engine)
    with translated():
        async with engine.connect() as connection:
            rows = [ok(_AREA, "connection", "answers"), *await server_rows(connection, _AREA)]
            rows.append(await _rights(connection))
    if waiting:
        message = f"not migrated: {', '.join(waiting)} to apply"
        rows.append(failed(_AREA, "tables", message, "Run `qupersync-loader migrate`"))
    else:
        rows.append(ok(_AREA, "tables", "migrated"))
    return rows, not waiting


async def _rights(connection: AsyncConnection) -> CheckRow:
    driver = await raw_connection(connection)
    found = await driver.fetchrow(statement("preflight_rights"))
    role = found["role"]
    if not found["temporary"]:
        cure = f"GRANT TEMPORARY ON DATABASE {found['database']} TO {role}"
        return failed(_AREA, "rights", f"{role} may not make temporary tables, and staging needs them", cure)
    if found["unwritable"]:
        tables = ", ".join(found["unwritable"])
        cure = f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role}"
        return failed(_AREA, "rights", f"{role} may not write the loader's own tables: {tables}", cure)
    return ok(_AREA, "rights", "temporary tables, and the loader's own tables")
