"""One probe: bounded in time, its failure a row; and the words for how much was looked at."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from qupersync_extractor.application.ports import Source
from qupersync_extractor.application.probing import SourceProbe
from qupersync_extractor.domain.pipeline import Pipeline, SourceEntity
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.plugins import CheckRow
from qupersync_shared.runtime.preflight import Bounds
from qupersync_shared.runtime.preflight.rows import of_trouble, warning


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A pipeline that is looked at: its source, the same with further questions, its columns, and the bounds."""

    pipeline: Pipeline
    source: Source
    probe: SourceProbe
    schema: RowSchema
    bounds: Bounds

    @property
    def area(self) -> str:
        return self.pipeline.name

    @property
    def is_entity(self) -> bool:
        """Whether its rows are put together from several views: no statement of one relation can look at them."""
        return isinstance(self.pipeline.relation, SourceEntity)


async def bounded(look: Look, subject: str, probe: Awaitable[CheckRow]) -> CheckRow:
    """The probe's row; a warning when it took longer than the bound, a failed row when it could not be asked."""

    async def alone() -> list[CheckRow]:
        return [await probe]

    [row] = await all_bounded(look.area, subject, alone(), look.bounds)
    return row


async def all_bounded(area: str, subject: str, probe: Awaitable[list[CheckRow]], bounds: Bounds) -> list[CheckRow]:
    """The same of a probe with several rows, or none."""
    try:
        async with asyncio.timeout(bounds.seconds_max):
            return await probe
    except TimeoutError:
        return [
            warning(
                area,
                subject,
                f"not known: it took longer than {bounds.seconds_max:g} s",
                f"Look at all of it, in a quiet hour: qupersync check {area} --full",
            )
        ]
    except QupersyncError as error:
        return [of_trouble(area, subject, error)]


def among(rows: int, order: str, *, complete: bool) -> str:
    """What was looked at, in words: `in all 1,200 rows`, or `among the first 1,000,000 rows in key order`."""
    return f"in all {rows:,} rows" if complete else f"among the first {rows:,} rows{order}"
