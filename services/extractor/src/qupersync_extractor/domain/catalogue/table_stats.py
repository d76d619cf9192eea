"""Statistics of the source's tables, from svv_table_info and the vacuum history."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, ClassVar

from qupersync_extractor.domain.catalogue.columns import BIGINT, COUNT, INTEGER, SHARE, TIMESTAMP, VARCHAR, numeric
from qupersync_extractor.domain.catalogue.entity import Entity, SyncedAt
from qupersync_extractor.domain.catalogue.values import MB_PER_GB, RedshiftTable


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStats(Entity):
    """How one table is stored. Empty tables are absent at the source."""

    NAME: ClassVar[str] = "table_stats"
    KEY: ClassVar[tuple[str, ...]] = ("table_id",)

    schema: Annotated[str, VARCHAR]
    table_name: Annotated[str, VARCHAR]
    table_id: Annotated[int, BIGINT]
    tbl_rows: Annotated[int, BIGINT, COUNT]
    size_mb: Annotated[int, BIGINT, COUNT]
    unsorted_pct: Annotated[Decimal | None, numeric(5, 2), SHARE]
    pct_skew_across_slices: Annotated[Decimal | None, numeric(21, 2)]
    diststyle: Annotated[str | None, VARCHAR]
    sort_key1: Annotated[str | None, VARCHAR]
    sortkey_num: Annotated[int | None, INTEGER, COUNT]
    encoded: Annotated[str | None, VARCHAR]
    pct_rows_marked_for_deletion: Annotated[Decimal | None, numeric(5, 2), SHARE]
    last_vacuum_date: Annotated[datetime | None, TIMESTAMP]
    vacuum_type: Annotated[str | None, VARCHAR]
    synced_at: SyncedAt = None

    @property
    def table(self) -> RedshiftTable:
        """The table by name."""
        return RedshiftTable(schema=self.schema, name=self.table_name)

    @property
    def size_gb(self) -> float:
        """`size_mb / 1024`."""
        return self.size_mb / MB_PER_GB

    @property
    def is_sorted(self) -> bool | None:
        """Whether nothing is unsorted; None for a table without a sort key."""
        return None if self.unsorted_pct is None else self.unsorted_pct == 0

    def since_vacuum(self, now: datetime) -> timedelta | None:
        """How long ago the last complete vacuum ended (`now` in UTC, without zone); None where none is known."""
        return None if self.last_vacuum_date is None else now - self.last_vacuum_date
