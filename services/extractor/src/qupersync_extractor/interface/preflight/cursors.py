"""Will the cursor find every change? Its type, NULLs, values in the future, and rows that share one value."""

from datetime import UTC, datetime, timedelta
from typing import Final

from qupersync_extractor.application.relation import horizon_of
from qupersync_extractor.domain.ordering import scalar_order
from qupersync_extractor.domain.timeline import TEMPORAL
from qupersync_extractor.interface.preflight.probes import Look, among
from qupersync_shared.contracts.schema import Column
from qupersync_shared.kernel.positions import ScalarKind
from qupersync_shared.runtime.plugins import CheckRow
from qupersync_shared.runtime.preflight.rows import ok, warning

_CLOCKS_APART_MAX: Final = timedelta(minutes=5)
_SUBJECT: Final = "cursor"


async def cursor_row(look: Look) -> CheckRow:
    """The row `cursor`: what the greatest value and the NULLs say of it."""
    column = _column(look)
    ahead = await _ahead(look, column)
    if ahead is not None:
        return warning(
            look.area,
            _SUBJECT,
            f"its greatest value {ahead} lies in the source's future",
            "If the column holds local time, set cursor_time_zone; rows are read when their time has come",
        )
    missing, seen = await _nulls(look, column)
    if missing:
        return warning(
            look.area,
            _SUBJECT,
            f"{missing:,} rows with NULL in {column.name} {seen}: they are read by snapshots only",
            "Fill the column, or keep snapshot_every short enough",
        )
    return ok(look.area, _SUBJECT, f"{column.name} {column.type.name}{_promises(look, column)}, no NULL {seen}")


async def ties_row(look: Look) -> CheckRow:
    """The row `cursor ties`: rows that share one value with more others than a page holds are read again together."""
    column = _column(look)
    page = look.pipeline.page_rows
    found = await look.probe.look_at_cursor(look.pipeline.relation, column, look.bounds.rows_max, crowd=page)
    seen = among(found.rows, " in cursor order, newest first", complete=found.complete)
    if column.type.scalar is ScalarKind.DATE:
        return ok(look.area, "cursor ties", f"{column.name} is a date: whole days are read again, as is meant")
    if found.crowded:
        share = 100 * found.crowded / found.rows
        return warning(
            look.area,
            "cursor ties",
            f"{share:.0f} % share their {column.name} with more than page_rows ({page:,}) others {seen}, up to "
            f"{found.largest:,} one value",
            "Such rows are read again whole while they lie within the lookback: write the column row by row, or "
            "shorten the lookback",
        )
    return ok(look.area, "cursor ties", f"at most {found.largest:,} rows share one value {seen}")


def _column(look: Look) -> Column:
    return look.schema.column(look.pipeline.cursor or "")


async def _nulls(look: Look, column: Column) -> tuple[int, str]:
    """How many NULLs, and among which rows."""
    relation = look.pipeline.relation
    if look.is_entity:
        return (await look.source.count_nulls(relation, [column.name]))[column.name], "in all rows"
    found = await look.probe.look_for_nulls(relation, [column.name], look.bounds.rows_max)
    return found.nulls[column.name], among(found.rows, "", complete=found.complete)


async def _ahead(look: Look, column: Column) -> str | None:
    """The greatest value where it lies in the source's future by an hour or more."""
    if column.type.scalar not in TEMPORAL:
        return None
    pipeline = look.pipeline
    highest = await look.source.highest(pipeline.relation, column)
    found = await horizon_of(look.source, pipeline, look.schema)
    ahead = (
        highest is not None
        and found is not None
        and scalar_order(highest) > scalar_order(found.high)
        and found.high_time + pipeline.safety_lag < datetime.now(UTC) + _CLOCKS_APART_MAX
        and _hours_beyond(highest.text, found.high.text) >= 1
    )
    return highest.text if ahead and highest is not None else None


def _hours_beyond(highest: str, high: str) -> float:
    def moment(text: str) -> datetime:
        return datetime.fromisoformat(text.removesuffix("Z"))

    try:
        return (moment(highest) - moment(high)) / timedelta(hours=1)
    except ValueError:
        return 1.0


def _promises(look: Look, column: Column) -> str:
    if column.type.scalar in TEMPORAL:
        return ""
    units = look.pipeline.lookback_units
    if units:
        return f": integers promise nothing about late commits; each run reads the last {units} again"
    return ": integers promise nothing about late commits, and lookback_units is 0: snapshots alone find those"
