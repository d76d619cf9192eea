"""Rows that wait for a person, at the source or in the target: what a service keeps of them, as commands see it.

A service with such rows contributes `Plugin.quarantine`; the commands over all of them stand in `cli/quarantine.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from qupersync_shared.runtime.settings import Configuration


class Side(StrEnum):
    """Where a row was refused: withheld before it became an event, or refused by the target."""

    SOURCE = "source"
    TARGET = "target"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedRow:
    """One row. `id` names it within its side, for ever; `key` is its encoded key; `resolution` None: it still waits.

    `content` is the row in plain values, where it is kept; `more` is what else `show` prints, by name.
    """

    id: str
    pipeline: str
    key: str
    reason: str
    first_seen: datetime
    last_seen: datetime
    times: int = 1
    resolved_at: datetime | None = None
    resolution: str | None = None
    content: Mapping[str, Any] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinePage:
    """Some rows of a list, in a fixed order; `more` counts those behind them."""

    rows: tuple[QuarantinedRow, ...]
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """Why a row cannot be read again. Not `final`: some of the rows that were asked for with it can be."""

    reason: str
    final: bool


class QuarantineStore(Protocol):
    """One service's quarantined rows. Errors are of the tree and say what cures them; ids that are unknown, or no
    longer wait, are passed over.
    """

    @property
    def side(self) -> Side: ...

    async def list(self, *, pipelines: Sequence[str], resolved: bool, after: str | None, limit: int) -> QuarantinePage:
        """Up to `limit` rows behind the row `after` (0: only counted); of all pipelines if none is named; resolved ones
        too if asked.
        """
        ...

    async def show(self, ids: Sequence[str]) -> Sequence[QuarantinedRow]:
        """Those of the rows that are known, whole."""
        ...

    async def redrive(self, ids: Sequence[str], *, seconds: float | None = None) -> Sequence[str]:
        """Asks for the rows' keys to be read again; the ids that were asked for. Asking twice does no harm.

        Where nobody answers, it is tried again for so many seconds, or, None, once more.
        """
        ...

    async def unread(self) -> Mapping[str, Unread]:
        """Rows that this store has asked for and that cannot be read again, as far as that is known by now."""
        ...

    async def discard(self, ids: Sequence[str]) -> Sequence[str]:
        """Ends the wait of these rows without loading them; the ids that waited. Their record stays for a while."""
        ...


OpenQuarantine = Callable[["Configuration", str | None], AbstractAsyncContextManager[QuarantineStore]]
"""Opens a service's store for a loader group (None: the configuration's); a service without groups ignores it."""


def parked_reason(pipeline: str, quarantined: int, dead_letters: int) -> str | None:
    """What makes a pipeline degraded until it is redriven or discarded, with the commands; None if nothing does."""
    parts = []
    if quarantined:
        parts.append(f"{_count(quarantined, 'row')} in quarantine (see `qupersync quarantine list -p {pipeline}`)")
    if dead_letters:
        parts.append(f"{_count(dead_letters, 'dead letter')} (see `qupersync dead-letters list -p {pipeline}`)")
    return " and ".join(parts) or None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
