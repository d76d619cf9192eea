"""The loader's part of `qupersync quarantine`: rows that the target refused."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from qupersync_loader.application.parked import key_lists
from qupersync_loader.infrastructure.postgres.parked import RefusedRow
from qupersync_loader.interface.parking import Parking, Redrive, opened
from qupersync_shared.contracts.commands import RereadRequest
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.ids import uuid7
from qupersync_shared.runtime.quarantine import QuarantinedRow, QuarantinePage, Side, Unread
from qupersync_shared.runtime.records import whoever
from qupersync_shared.runtime.settings import Configuration


class TargetQuarantine:
    """The port `QuarantineStore` for the target."""

    side = Side.TARGET

    def __init__(self, parking: Parking) -> None:
        self._parking = parking
        self._redrive = Redrive(parking.commands)

    async def list(self, *, pipelines: Sequence[str], resolved: bool, after: str | None, limit: int) -> QuarantinePage:
        begin = number(after) if after is not None else 0
        found, more = await self._parking.content.rows(pipelines=pipelines, resolved=resolved, after=begin, limit=limit)
        return QuarantinePage(rows=tuple(_row(row) for row in found), more=more)

    async def show(self, ids: Sequence[str]) -> Sequence[QuarantinedRow]:
        return [_row(row) for row in await self._parking.content.named_rows([number(one) for one in ids])]

    async def redrive(self, ids: Sequence[str], *, seconds: float | None = None) -> Sequence[str]:
        found = await self._parking.content.named_rows([number(one) for one in ids])
        waiting = [row for row in found if row.resolution is None]
        for pipeline in sorted({row.pipeline for row in waiting}):
            keys = {row.id: row.key for row in waiting if row.pipeline == pipeline}
            for part in key_lists(keys):
                request = RereadRequest(
                    id=uuid7(),
                    group=self._parking.group,
                    pipeline=pipeline,
                    reason="an operator redrives rows in quarantine",
                    keys=tuple(part.values()),
                )
                await self._redrive.reread(request, [str(row) for row in part], seconds=seconds)
        return [str(row.id) for row in waiting]

    async def unread(self) -> Mapping[str, Unread]:
        return await self._redrive.unread()

    async def discard(self, ids: Sequence[str]) -> Sequence[str]:
        discarded = await self._parking.content.discard_rows([number(one) for one in ids], by=whoever())
        return [str(row) for row in discarded]


@asynccontextmanager
async def target_quarantine(configuration: Configuration, group: str | None) -> AsyncIterator[TargetQuarantine]:
    """The quarantine of a loader group."""
    async with opened(configuration, group) as parking:
        yield TargetQuarantine(parking)


def number(name: str) -> int:
    """The id that a name stands for; ConfigurationError if it is none."""
    if not (name.isascii() and name.isdecimal() and len(name) <= len(str(2**63)) - 1):
        raise ConfigurationError(f"{name!r} is not a number", place="arguments", cure="`list` shows the numbers")
    return int(name)


def _row(row: RefusedRow) -> QuarantinedRow:
    return QuarantinedRow(
        id=str(row.id),
        pipeline=row.pipeline,
        key=row.key,
        reason=row.reason,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        times=row.times,
        resolved_at=row.resolved_at,
        resolution=row.resolution,
        content=json.loads(row.content),
        more={"slot": row.slot, "event_id": str(row.event_id), "log": row.log, "sequence": row.sequence},
    )
