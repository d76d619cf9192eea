"""What a Serverless workgroup uses, minute by minute, from sys_serverless_usage."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Final

from qupersync_extractor.domain.catalogue.columns import BIGINT, COUNT, DOUBLE, TIMESTAMP
from qupersync_extractor.domain.catalogue.entity import Entity, SyncedAt
from qupersync_extractor.domain.catalogue.values import MB_PER_GB

_SECONDS_PER_HOUR: Final = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerlessUsage(Entity):
    """One interval. `charged_seconds` may be 0 until the transactions in it have ended: the interval is read again."""

    NAME: ClassVar[str] = "serverless_usage"
    KEY: ClassVar[tuple[str, ...]] = ("start_time",)

    start_time: Annotated[datetime, TIMESTAMP]
    end_time: Annotated[datetime, TIMESTAMP]
    compute_seconds: Annotated[float, DOUBLE, COUNT]
    compute_capacity: Annotated[float, DOUBLE, COUNT]
    data_storage: Annotated[int, BIGINT, COUNT]
    cross_region_transferred_data: Annotated[int, BIGINT, COUNT]
    charged_seconds: Annotated[int, BIGINT, COUNT]
    synced_at: SyncedAt = None

    @property
    def charged_rpu_hours(self) -> float:
        """`charged_seconds / 3600`: what the bill multiplies by the price of an RPU hour."""
        return self.charged_seconds / _SECONDS_PER_HOUR

    @property
    def storage_gb(self) -> float:
        """`data_storage / 1024`."""
        return self.data_storage / MB_PER_GB

    @property
    def interval_seconds(self) -> float:
        """From the interval's start to its end."""
        return (self.end_time - self.start_time).total_seconds()
