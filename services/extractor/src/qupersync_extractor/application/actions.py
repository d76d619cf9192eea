"""What people did: who, what, to which pipeline, when and why. Kept beside what it did, and for as long as runs are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol
from uuid import UUID

from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.records import Field, Listing, Match, Page, Query


class ActionKind(StrEnum):
    """What can be done to a pipeline, or to all of them."""

    TRIGGER = "trigger"
    PAUSE = "pause"
    RESUME = "resume"
    RESET = "reset"
    RETIRE = "retire"
    REDRIVE = "redrive"
    DISCARD = "discard"
    PURGE = "purge history"


LISTING: Final = Listing(
    name="actions",
    filters={
        "pipeline": Field(attribute="pipeline"),
        "action": Field(attribute="action", parse=ActionKind),
        "by": Field(attribute="by"),
        "since": Field(attribute="at", match=Match.SINCE, parse=datetime.fromisoformat),
        "before": Field(attribute="at", match=Match.BEFORE, parse=datetime.fromisoformat),
    },
    sorts={"at": ("at",)},
    identity="id",
    default_sort="-at",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One deed, by the outbox database's clock; `pipeline` is None where it concerned all."""

    id: UUID
    action: ActionKind
    by: str
    at: datetime
    pipeline: PipelineName | None = None
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class Actions(Protocol):
    """The record of deeds; each call is a transaction of its own."""

    async def record(
        self,
        action: ActionKind,
        *,
        by: str,
        pipeline: PipelineName | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Keeps that it was done, now."""
        ...

    async def page(self, query: Query) -> Page[Action]:
        """Actions as `LISTING` allows to ask for them."""
        ...

    async def forget(self, *, older_than: timedelta) -> int:
        """Removes what was done longer ago; how many there were."""
        ...
