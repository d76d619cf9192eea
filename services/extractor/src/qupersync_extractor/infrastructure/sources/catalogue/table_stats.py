"""Statistics of tables, with the last vacuum of each, which the source forgets after some days."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from qupersync_extractor.application.remembering import JSON, Remembered
from qupersync_extractor.infrastructure.sources.catalogue.joining import looked_up
from qupersync_extractor.infrastructure.sources.catalogue.recipe import NotApplicable, Statements
from qupersync_extractor.infrastructure.sources.catalogue.statements import SVV_TABLE_INFO, first_of
from qupersync_extractor.infrastructure.sources.catalogue.vacuums import vacuum_log
from qupersync_extractor.infrastructure.sources.catalogue.views import SystemViews

_VACUUM: Final = ("last_vacuum_date", "vacuum_type")
_TABLES: Final = first_of("table_stats", SVV_TABLE_INFO, "table_stats.sql", later=_VACUUM)
_KNOWN: Final = "date"
_KIND: Final = "type"


class TableStatsRecipe:
    """From svv_table_info and the vacuum log; `place` tells the cluster's remembered vacuums from another's."""

    name = "table_stats"

    def __init__(self, remembered: Remembered | None, *, place: str) -> None:
        self._remembered = remembered
        self._subject = f"vacuums of {place}"

    async def statements(self, views: SystemViews) -> Statements | NotApplicable:
        return Statements(first=_TABLES, further=((await vacuum_log(views)).latest,))

    async def complete(self, page: pa.RecordBatch, views: SystemViews) -> Mapping[str, pa.Array]:
        tables = page.column("table_id")
        latest = await views.matching((await vacuum_log(views)).latest, "table_id", tables)
        dates, kinds = (looked_up(tables, latest, key="table_id", column=name) for name in _VACUUM)
        if self._remembered is None:
            return dict(zip(_VACUUM, (dates, kinds), strict=True))
        return await self._with_memory(self._remembered, tables.to_pylist(), dates.to_pylist(), kinds.to_pylist())

    async def _with_memory(
        self, remembered: Remembered, tables: list[int], dates: list[datetime | None], kinds: list[str | None]
    ) -> Mapping[str, pa.Array]:
        """What the log says, and what it said before where it says nothing any more; the former is remembered."""
        known = await remembered.recall(self._subject, [str(table) for table in tables])
        news: dict[str, dict[str, JSON]] = {}
        for place, table in enumerate(tables):
            before = known.get(str(table))
            date = dates[place]
            if date is None:
                dates[place], kinds[place] = _recalled(before)
            elif before != (said := _facts(date, kinds[place])):
                news[str(table)] = said
        if news:
            await remembered.remember(self._subject, news)
        return {
            "last_vacuum_date": pa.array(dates, pa.timestamp("us")),
            "vacuum_type": pa.array(kinds, pa.string()),
        }


def _facts(date: datetime, kind: str | None) -> dict[str, JSON]:
    return {_KNOWN: date.isoformat(), _KIND: kind}


def _recalled(facts: Mapping[str, Any] | None) -> tuple[datetime | None, str | None]:
    if facts is None:
        return None, None
    return datetime.fromisoformat(facts[_KNOWN]), facts[_KIND]
