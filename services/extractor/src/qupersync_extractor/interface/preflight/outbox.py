"""The outbox database: reachable, new enough, migrated, and may the role do what the extractor does there?"""

from sqlalchemy.ext.asyncio import AsyncConnection

from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.infrastructure.postgres.schema import pending_revisions
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_extractor.settings import ExtractorSettings
from qupersync_extractor.stores import Stores, stores
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.database import translated
from qupersync_shared.runtime.plugins import CheckRow
from qupersync_shared.runtime.preflight.postgres import server_rows
from qupersync_shared.runtime.preflight.rows import failed, of_error, ok, warning

_AREA = "outbox"


async def outbox_rows(settings: ExtractorSettings) -> list[CheckRow]:
    """Rows of the database, then one for every pipeline whose number of lanes differs from the configuration's."""
    kept = stores(settings, application_name="qupersync-check")
    try:
        return await _rows(kept, settings)
    except QupersyncError as error:
        return [of_error(_AREA, "database", error)]
    finally:
        await kept.close()


async def _rows(kept: Stores, settings: ExtractorSettings) -> list[CheckRow]:
    waiting = await pending_revisions(kept.engine)
    with translated():
        async with kept.engine.connect() as connection:
            server = await server_rows(connection, _AREA)
            rights = await (_migrating_row(connection) if waiting else _rights_row(connection))
    if waiting:
        database = failed(
            _AREA, "database", f"not migrated: {', '.join(waiting)} to apply", "Run `qupersync-extractor migrate`"
        )
        return [database, *server, rights]
    rows = [ok(_AREA, "database", "answers and is migrated"), *server, rights]
    for pipeline in settings.pipelines:
        known = await kept.registry.get(pipeline.name)
        if known is not None and known.lanes != pipeline.lanes:
            rows.append(_lanes_differ(pipeline, known.lanes))
    return rows


async def _migrating_row(connection: AsyncConnection) -> CheckRow:
    """May the role make the schema, or, where it is there, change it?"""
    found = (await connection.execute(statement("may_migrate"))).mappings().one()
    if found["may"]:
        return ok(_AREA, "rights", f"{found['role']} may migrate")
    grant = f"GRANT CREATE ON DATABASE {found['database']} TO {found['role']}"
    cure = f"GRANT {found['owner']} TO {found['role']}" if found["owner"] else grant
    return failed(_AREA, "rights", f"{found['role']} may not migrate", cure)


async def _rights_row(connection: AsyncConnection) -> CheckRow:
    """May the role read and write every table, and make partitions, which only the outbox's owner may?"""
    missing = (await connection.execute(statement("missing_rights"))).mappings().all()
    if not missing:
        return ok(_AREA, "rights", "reads and writes its tables, makes partitions")
    return failed(
        _AREA,
        "rights",
        "; ".join(str(row["lacks"]) for row in missing),
        "; ".join(dict.fromkeys(str(row["cure"]) for row in missing)),
    )


def _lanes_differ(pipeline: Pipeline, lanes: int) -> CheckRow:
    return warning(
        pipeline.name,
        "lanes",
        f"the configuration says {pipeline.lanes}, the pipeline goes on with {lanes}",
        f"Run `qupersync reset {pipeline.name}`: a new log with {pipeline.lanes} lanes, and a snapshot; or write "
        f"{lanes} again",
    )
