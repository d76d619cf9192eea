"""What people did, in memory."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from qupersync_extractor.application.actions import LISTING, Action, ActionKind
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_shared.kernel.ids import PipelineName, uuid7
from qupersync_shared.runtime.records import Page, Query
from qupersync_shared.runtime.records.listing import select


class MemoryActions:
    """The deeds of a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def record(
        self,
        action: ActionKind,
        *,
        by: str,
        pipeline: PipelineName | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self._store.check()
        done = Action(
            id=uuid7(),
            action=action,
            by=by,
            at=self._store.now(),
            pipeline=pipeline,
            reason=reason,
            details=dict(details or {}),
        )
        self._store.actions[done.id] = done

    async def page(self, query: Query) -> Page[Action]:
        self._store.check()
        return select(LISTING, query, self._store.actions.values())

    async def forget(self, *, older_than: timedelta) -> int:
        self._store.check()
        border = self._store.now() - older_than
        old = [done.id for done in self._store.actions.values() if done.at < border]
        for id_ in old:
            del self._store.actions[id_]
        return len(old)
