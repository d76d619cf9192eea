"""Vacuums, running and ended."""

from collections.abc import Mapping

import pyarrow as pa

from qupersync_extractor.infrastructure.sources.catalogue.joining import looked_up
from qupersync_extractor.infrastructure.sources.catalogue.recipe import NotApplicable, Statements
from qupersync_extractor.infrastructure.sources.catalogue.vacuums import vacuum_log
from qupersync_extractor.infrastructure.sources.catalogue.views import SystemViews


class VacuumHistoryRecipe:
    """From sys_vacuum_history; on clusters without it from stl_vacuum, with the names of svv_table_info."""

    name = "vacuum_history"

    async def statements(self, views: SystemViews) -> Statements | NotApplicable:
        log = await vacuum_log(views)
        return Statements(first=log.history, further=() if log.names is None else (log.names,))

    async def complete(self, page: pa.RecordBatch, views: SystemViews) -> Mapping[str, pa.Array]:
        log = await vacuum_log(views)
        if log.names is None or "table_name" in page.schema.names:
            return {}
        tables = page.column("table_id")
        names = await views.matching(log.names, "table_id", tables)
        return {name: looked_up(tables, names, key="table_id", column=name) for name in ("schema", "table_name")}
