"""Vacuums, running and finished, from sys_vacuum_history (stl_vacuum on older clusters)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Final

from qupersync_extractor.domain.catalogue.columns import BIGINT, BOOLEAN, COUNT, TIMESTAMP, VARCHAR
from qupersync_extractor.domain.catalogue.entity import Entity, SyncedAt
from qupersync_extractor.domain.catalogue.values import MB_PER_GB

_COMPLETE: Final = "complete"


class VacuumType(StrEnum):
    """The kinds that are known. The field is text: another one that Redshift may invent is kept as it is."""

    FULL = "FULL"
    SORT_ONLY = "SORT ONLY"
    DELETE_ONLY = "DELETE ONLY"
    REINDEX = "REINDEX"
    RECLUSTER = "RECLUSTER"

    @classmethod
    def known(cls, text: str) -> "VacuumType | None":
        """The kind that a text names, whatever its case and padding; None for one that is not known."""
        name = " ".join(text.upper().split())
        return cls(name) if name in set(cls) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class VacuumHistory(Entity):
    """One vacuum of one table. The row changes while the vacuum goes on; `record_time` says when it last did."""

    NAME: ClassVar[str] = "vacuum_history"
    KEY: ClassVar[tuple[str, ...]] = ("transaction_id", "table_id", "start_time")

    table_id: Annotated[int, BIGINT]
    table_name: Annotated[str | None, VARCHAR]
    schema: Annotated[str | None, VARCHAR]
    vacuum_type: Annotated[str | None, VARCHAR]
    status: Annotated[str, VARCHAR]
    start_time: Annotated[datetime, TIMESTAMP]
    end_time: Annotated[datetime | None, TIMESTAMP]
    reclaimable_rows: Annotated[int | None, BIGINT, COUNT]
    impacted_blocks: Annotated[int | None, BIGINT]
    transaction_id: Annotated[int, BIGINT]
    is_automatic: Annotated[bool, BOOLEAN]
    record_time: Annotated[datetime, TIMESTAMP]
    synced_at: SyncedAt = None

    @property
    def reclaimable_gb(self) -> float | None:
        """`impacted_blocks / 1024`, a block being 1 MB; None where the source does not say."""
        return None if self.impacted_blocks is None else self.impacted_blocks / MB_PER_GB

    @property
    def is_complete(self) -> bool:
        """Whether the vacuum ended well."""
        return self.status.strip().casefold() == _COMPLETE

    @property
    def duration_seconds(self) -> float | None:
        """From its start to its end; None while it goes on."""
        return None if self.end_time is None else (self.end_time - self.start_time).total_seconds()
