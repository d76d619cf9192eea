"""Which application sent a query: the connection log tells of each session's beginning, and forgets it after days."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.application.remembering import JSON, Remembered
from qupersync_extractor.infrastructure.sources.catalogue.joining import distinct, latest_at, looked_up
from qupersync_extractor.infrastructure.sources.catalogue.statements import (
    INTEGER,
    SYS_CONNECTION_LOG,
    TIMESTAMP,
    VARCHAR,
    statement,
)
from qupersync_extractor.infrastructure.sources.catalogue.views import SystemViews

SESSIONS: Final = statement(
    SYS_CONNECTION_LOG,
    "sessions.sql",
    {"session_id": INTEGER, "record_time": TIMESTAMP, "application_name": VARCHAR},
)
OLD: Final = timedelta(days=1)  # sessions that live on may outlive the log; those that are this old are remembered
_AT: Final = "at"
_NAME: Final = "application"


class Applications:
    """The applications of one cluster's sessions, with those of sessions that the log has forgotten."""

    def __init__(self, remembered: Remembered | None, *, place: str) -> None:
        self._remembered = remembered
        self._subject = f"sessions of {place}"

    async def of(self, sessions: pa.Array, starts: pa.Array, views: SystemViews) -> pa.Array:
        """For each query, by its session and start, what the latest record of the session said; NULL where none did."""
        log = await views.matching(SESSIONS, "session_id", sessions)
        names, moments = (
            latest_at(sessions, starts, log, key="session_id", moment="record_time", column=column)
            for column in ("application_name", "record_time")
        )
        if self._remembered is None:
            return names
        forgotten = moments.is_null()
        aged = pc.fill_null(
            pc.greater(pc.subtract(starts, moments), pa.scalar(OLD, pa.duration("us"))), fill_value=False
        )
        asked = distinct(sessions.filter(pc.or_(forgotten, aged)))
        if len(asked) == 0:
            return names
        known = await self._remembered.recall(self._subject, [str(session) for session in asked.to_pylist()])
        await self._remember(
            self._remembered,
            known,
            zip(*(column.filter(aged).to_pylist() for column in (sessions, moments, names)), strict=True),
        )
        return pc.if_else(forgotten, _recalled(known, sessions, starts), names)

    async def _remember(self, remembered: Remembered, known: Mapping[str, Mapping[str, JSON]], aged: Any) -> None:
        latest: dict[str, tuple[datetime, str | None]] = {}
        for session, moment, name in aged:
            key = str(session)
            if key not in latest or latest[key][0] < moment:
                latest[key] = (moment, name)
        facts: dict[str, dict[str, JSON]] = {
            key: {_AT: moment.isoformat(), _NAME: name} for key, (moment, name) in latest.items()
        }
        news = {key: said for key, said in facts.items() if known.get(key) != said}
        if news:
            await remembered.remember(self._subject, news)


def _recalled(known: Mapping[str, Mapping[str, Any]], sessions: pa.Array, starts: pa.Array) -> pa.Array:
    """What is remembered of each session, unless it was said after the query began."""
    table = pa.table(
        {
            "session": pa.array([int(key) for key in known], sessions.type),
            "at": pa.array([datetime.fromisoformat(said[_AT]) for said in known.values()], pa.timestamp("us")),
            "name": pa.array([said[_NAME] for said in known.values()], pa.string()),
        }
    )
    before = pc.less_equal(looked_up(sessions, table, key="session", column="at"), starts)
    names = looked_up(sessions, table, key="session", column="name")
    return pc.if_else(pc.fill_null(before, fill_value=False), names, pa.scalar(None, pa.string()))
