"""Where vacuums are written down: sys_vacuum_history, and stl_vacuum where there is none."""

from dataclasses import dataclass
from typing import Final

from qupersync_extractor.infrastructure.sources.catalogue.statements import (
    BIGINT,
    STL_VACUUM,
    SVV_TABLE_INFO,
    SYS_VACUUM_HISTORY,
    TIMESTAMP,
    VARCHAR,
    Statement,
    first_of,
    statement,
)
from qupersync_extractor.infrastructure.sources.catalogue.views import SystemViews

_LATEST: Final = {"table_id": BIGINT, "last_vacuum_date": TIMESTAMP, "vacuum_type": VARCHAR}


@dataclass(frozen=True, slots=True, kw_only=True)
class VacuumLog:
    """The statements over one of the two; `names` where tables are known by number alone."""

    history: Statement
    latest: Statement
    names: Statement | None = None


SYS: Final = VacuumLog(
    history=first_of("vacuum_history", SYS_VACUUM_HISTORY, "vacuum_history.sql"),
    latest=statement(SYS_VACUUM_HISTORY, "latest_vacuums.sql", _LATEST),
)
STL: Final = VacuumLog(
    history=first_of("vacuum_history", STL_VACUUM, "vacuum_history_stl.sql", later=("table_name", "schema")),
    latest=statement(STL_VACUUM, "latest_vacuums_stl.sql", _LATEST),
    names=statement(SVV_TABLE_INFO, "table_names.sql", {"table_id": BIGINT, "schema": VARCHAR, "table_name": VARCHAR}),
)


async def vacuum_log(views: SystemViews) -> VacuumLog:
    """The one this cluster has; sys_vacuum_history, so that its absence is told, if it has none."""
    if await views.has(SYS.history) or not await views.has_nodes():
        return SYS
    return STL
