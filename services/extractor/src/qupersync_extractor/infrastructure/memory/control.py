"""What people decide of pipelines, in memory: units of work on copies, checked by version when they commit."""

from collections.abc import Iterable, Mapping
from copy import copy
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from qupersync_extractor.application.actions import Action, ActionKind
from qupersync_extractor.application.control import LISTING, PipelineControl
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_shared.kernel.ids import PipelineName, uuid7
from qupersync_shared.runtime.records import Page, Query, StaleVersionError
from qupersync_shared.runtime.records.listing import select


class MemoryControls:
    """The records of one unit of work."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._seen: dict[PipelineName, PipelineControl] = {}

    async def get(self, pipeline: PipelineName) -> PipelineControl | None:
        self._store.check()
        if pipeline not in self._seen and pipeline in self._store.controls:
            self._seen[pipeline] = copy(self._store.controls[pipeline])
        return self._seen.get(pipeline)

    async def make(self, pipeline: PipelineName, *, by: str) -> PipelineControl:
        found = await self.get(pipeline)
        if found is None:
            now = self._store.now()
            found = PipelineControl(
                pipeline=pipeline, version=0, created_at=now, created_by=by, updated_at=now, updated_by=by
            )
            self._seen[pipeline] = found
        return found

    async def page(self, query: Query) -> Page[PipelineControl]:
        self._store.check()
        page = select(LISTING, query, self._store.controls.values())
        items: Iterable[PipelineControl | None] = [await self.get(one.pipeline) for one in page.items]
        return Page(tuple(one for one in items if one is not None), page.next_cursor)

    async def now(self) -> datetime:
        return self._store.now()

    def keep(self) -> None:
        """All changes of the unit of work, or none of them."""
        changed = {name: one for name, one in self._seen.items() if one != self._store.controls.get(name)}
        for name, one in changed.items():
            stored = self._store.controls.get(name)
            if (stored.version if stored is not None else 0) != one.version:
                raise StaleVersionError(f"{name} was changed by somebody else", cure="Look at it again")
        for name, one in changed.items():
            one.version += 1
            self._store.controls[name] = copy(one)


class MemoryControlWork:
    """The port `ControlWork` on a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._controls = MemoryControls(store)
        self._done: list[Action] = []

    @property
    def controls(self) -> MemoryControls:
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
        self._store.check()
        at, told = self._store.now(), dict(details or {})
        self._done.append(
            Action(id=uuid7(), action=action, by=by, at=at, pipeline=pipeline, reason=reason, details=told)
        )

    async def commit(self) -> None:
        self._store.check()
        self._controls.keep()
        self._store.actions.update({done.id: done for done in self._done})
        await self._store.ring_request()

    async def __aenter__(self) -> Self:
        self._store.check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
