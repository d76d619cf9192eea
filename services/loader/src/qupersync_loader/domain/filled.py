"""Which columns of a target table its pipeline fills, or has filled before its source dropped them. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

Place = tuple[int, int]
"""Log and sequence of an event. Lanes come to a change at different times: its place tells that an event is older."""

AFTER_ALL: Final[Place] = (1 << 62, 0)
"""After every event that there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledColumn:
    """`since`: the first event known to have brought it. `gone`: the first one after that which did not, where none has
    brought it again.
    """

    since: Place
    gone: Place | None = None

    def brought(self, at: Place) -> "FilledColumn":
        """What is known when the event at this place has the column."""
        again = self.gone is not None and at > self.gone
        return replace(self, since=min(self.since, at), gone=None if again else self.gone)

    def lacked(self, at: Place) -> "FilledColumn":
        """What is known when it has not. An event from before the column came says nothing of it."""
        if at <= self.since:
            return self
        return replace(self, gone=at if self.gone is None else min(self.gone, at))


@dataclass(frozen=True, slots=True)
class FilledColumns:
    """What is remembered with a pipeline. All other columns of its table are the owner's, and are never written."""

    columns: Mapping[str, FilledColumn] = field(default_factory=dict)

    def fitting(self, brings: Collection[str], *, at: Place, present: Collection[str]) -> "FilledColumns":
        """What is to be remembered before the event at this place, which brings these columns, is applied to a table
        that has the columns `present`.

        A column that the owner has dropped is forgotten: one that bears its name later is his.
        """
        lacked = {
            name: column.lacked(at) for name, column in self.columns.items() if name not in brings and name in present
        }
        brought = {name: self.columns.get(name, FilledColumn(since=at)).brought(at) for name in brings}
        return FilledColumns({**lacked, **brought})

    def to_empty(self, brings: Collection[str], *, at: Place) -> tuple[str, ...]:
        """The columns that rows of such an event have NULL in: the source has dropped them."""
        return tuple(sorted(name for name, column in self.columns.items() if name not in brings and at > column.since))

    @property
    def gone(self) -> frozenset[str]:
        """The columns that the source has dropped, for all that is known."""
        return frozenset(name for name, column in self.columns.items() if column.gone is not None)
