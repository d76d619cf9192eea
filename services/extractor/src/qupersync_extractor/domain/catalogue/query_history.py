"""Finished queries, from sys_query_history, its details and the connection log."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Final

from qupersync_extractor.domain.catalogue.columns import BIGINT, COUNT, TIMESTAMP, VARCHAR
from qupersync_extractor.domain.catalogue.entity import Entity, SyncedAt
from qupersync_extractor.domain.catalogue.values import BYTES_PER_GB, MB_PER_GB

_MICROSECONDS: Final = 1_000_000


class QueryStatus(StrEnum):
    """The final states that are known. The field is text: another one that Redshift may invent is kept as it is."""

    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryHistory(Entity):
    """One query in its final state. Times are UTC; a block is 1 MB."""

    NAME: ClassVar[str] = "query_history"
    KEY: ClassVar[tuple[str, ...]] = ("query_id",)

    query_id: Annotated[int, BIGINT]
    query_hash: Annotated[str | None, VARCHAR]
    user_name: Annotated[str | None, VARCHAR]
    application_name: Annotated[str | None, VARCHAR]
    database_name: Annotated[str | None, VARCHAR]
    status: Annotated[str, VARCHAR]
    query_type: Annotated[str | None, VARCHAR]
    execution_time_us: Annotated[int, BIGINT, COUNT]
    queue_time_us: Annotated[int, BIGINT, COUNT]
    compile_time_us: Annotated[int, BIGINT, COUNT]
    rows_returned: Annotated[int, BIGINT, COUNT]
    bytes_scanned: Annotated[int, BIGINT, COUNT]
    spilled_blocks: Annotated[int, BIGINT, COUNT]
    start_time: Annotated[datetime, TIMESTAMP]
    end_time: Annotated[datetime, TIMESTAMP]
    error_message: Annotated[str | None, VARCHAR]
    synced_at: SyncedAt = None

    @property
    def execution_seconds(self) -> float:
        """`execution_time_us / 1e6`."""
        return self.execution_time_us / _MICROSECONDS

    @property
    def queue_seconds(self) -> float:
        """`queue_time_us / 1e6`."""
        return self.queue_time_us / _MICROSECONDS

    @property
    def compile_seconds(self) -> float:
        """`compile_time_us / 1e6`."""
        return self.compile_time_us / _MICROSECONDS

    @property
    def spill_gb(self) -> float:
        """`spilled_blocks / 1024`: a block is 1 MB."""
        return self.spilled_blocks / MB_PER_GB

    @property
    def scanned_gb(self) -> float:
        """`bytes_scanned / 1024³`."""
        return self.bytes_scanned / BYTES_PER_GB

    @property
    def succeeded(self) -> bool:
        """Whether the query ended well."""
        return self.status == QueryStatus.SUCCESS
