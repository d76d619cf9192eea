"""What people decide of pipelines, on PostgreSQL. The record stays a plain dataclass: it is mapped from outside."""

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import registry
from sqlalchemy.orm.exc import StaleDataError

from qupersync_extractor.application.actions import ActionKind
from qupersync_extractor.application.control import LISTING, PipelineControl
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.actions import action_recorded
from qupersync_extractor.infrastructure.postgres.rows import plain
from qupersync_extractor.infrastructure.postgres.signals import REQUEST_CHANNEL
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.database import translated
from qupersync_shared.runtime.records import Page, Query, StaleVersionError
from qupersync_shared.runtime.records.postgres import page_statement

_table: Final = tables.pipeline_control
_now: Final = sa.func.clock_timestamp()
_NOTIFY: Final = sa.text("SELECT pg_notify(:channel, '')")

# SQLAlchemy counts the version itself, and refuses an UPDATE that finds another one.
registry(metadata=tables.metadata).map_imperatively(PipelineControl, _table, version_id_col=_table.c.version)


async def controls_of(
    connection: AsyncConnection, pipelines: SequenceOf[PipelineName]
) -> dict[PipelineName, PipelineControl]:
    """The records of these pipelines, as this connection's transaction sees them; to be read only."""
    rows = await connection.execute(sa.select(_table).where(_table.c.pipeline.in_(pipelines)))
    return {PipelineName(row.pipeline): PipelineControl(**row._mapping) for row in rows}  # noqa: SLF001  # its public name


class PostgresControls:
    """The records of one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, pipeline: PipelineName) -> PipelineControl | None:
        with translated():
            return await self._session.get(PipelineControl, pipeline)

    async def make(self, pipeline: PipelineName, *, by: str) -> PipelineControl:
        made = insert(_table).values(pipeline=pipeline, created_by=plain(by), updated_by=plain(by))
        with translated():
            await self._session.execute(made.on_conflict_do_nothing())
            return await self._session.get_one(PipelineControl, pipeline)

    async def page(self, query: Query) -> Page[PipelineControl]:
        columns = {column.name: column for column in _table.c}
        with translated():
            found = await self._session.scalars(page_statement(sa.select(PipelineControl), columns, LISTING, query))
            return LISTING.page(query, found.all(), getattr)

    async def now(self) -> datetime:
        with translated():
            moment: datetime = (await self._session.execute(sa.select(_now))).scalar_one()
            return moment


class PostgresControlWork:
    """The port `ControlWork`: one session, one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._session = AsyncSession(engine, expire_on_commit=False, autoflush=False)
        self._controls = PostgresControls(self._session)

    @property
    def controls(self) -> PostgresControls:
        return self._controls

    async def record(
        self,
        action: ActionKind,
        pipeline: PipelineName,
        *,
        by: str,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        done = action_recorded(action, by=by, pipeline=pipeline, reason=reason, details=details)
        with translated():
            await self._session.execute(done)

    async def commit(self) -> None:
        with translated(), _not_stale():
            await self._session.flush()
            await self._session.execute(_NOTIFY, {"channel": REQUEST_CHANNEL})
            await self._session.commit()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()


@contextmanager
def _not_stale() -> Iterator[None]:
    try:
        yield
    except StaleDataError as error:
        raise StaleVersionError(
            "somebody else changed it at the same time", cure="Look at it again, then decide again"
        ) from error
