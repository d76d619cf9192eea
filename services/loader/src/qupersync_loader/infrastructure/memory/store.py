"""The one store that sessions of the in-memory target share."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from qupersync_loader.infrastructure.memory.tables import PipelineStore, Table
from qupersync_shared.kernel.errors import DatabaseUnavailableError
from qupersync_shared.kernel.ids import PipelineName

RefuseRow = Callable[[Mapping[str, Any]], str | None]


def _refuse_nothing(_row: Mapping[str, Any]) -> str | None:
    return None


class MemoryStore:
    """`refuse` names the reason why a row cannot stand in the target; `down` makes every call fail."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.pipelines: dict[PipelineName, PipelineStore] = {}
        self.refuse: RefuseRow = _refuse_nothing
        self.down: str | None = None
        self.lock = asyncio.Lock()
        self._versions = itertools.count(1)

    def tick(self) -> int:
        """A version that no row has had."""
        return next(self._versions)

    def answer(self) -> None:
        """DatabaseUnavailableError while the target is down."""
        if self.down is not None:
            raise DatabaseUnavailableError(self.down)
