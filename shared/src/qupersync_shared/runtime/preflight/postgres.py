"""What is asked of every PostgreSQL server: its version, and how its clock stands to this machine's."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from qupersync_shared.runtime.plugins import CheckRow
from qupersync_shared.runtime.preflight.rows import failed, ok, warning

POSTGRES_MIN: Final = 14
CLOCK_DIFFERENCE_MAX: Final = timedelta(seconds=30)
_SERVER: Final = text(
    "SELECT clock_timestamp() AS now, current_setting('server_version_num')::integer AS number, "
    "current_setting('server_version') AS version"
)


async def server_rows(connection: AsyncConnection, area: str) -> list[CheckRow]:
    """The rows `version` and `clock`."""
    before = datetime.now(UTC)
    found = (await connection.execute(_SERVER)).mappings().one()
    after = datetime.now(UTC)
    return [
        version_row(area, int(found["number"]), str(found["version"])),
        clock_row(area, found["now"], before, after),
    ]


def version_row(area: str, number: int, version: str) -> CheckRow:
    """`number` as `server_version_num` has it."""
    said = f"PostgreSQL {version.split(maxsplit=1)[0]}"
    if number // 10_000 < POSTGRES_MIN:
        return failed(area, "version", f"{said} is too old", f"Use PostgreSQL {POSTGRES_MIN} or newer")
    return ok(area, "version", said)


def clock_row(area: str, clock: datetime, before: datetime, after: datetime) -> CheckRow:
    """The row `clock`: a server's time against this machine's, before it was asked and after it answered."""
    difference = clock - before - (after - before) / 2
    slack = (after - before) / 2
    seconds = abs(difference.total_seconds())
    if abs(difference) > CLOCK_DIFFERENCE_MAX + slack:
        side = "ahead of" if difference > timedelta(0) else "behind"
        return warning(
            area,
            "clock",
            f"it is {seconds:.0f} s {side} this machine's",
            "Set both by NTP: lag and freshness are off by as much; what is extracted follows the source's clock alone",
        )
    return ok(area, "clock", f"within {max(1.0, seconds):.0f} s of this machine's")
