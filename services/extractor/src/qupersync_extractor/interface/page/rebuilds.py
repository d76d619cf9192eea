"""The page of rebuilds: those under way with how far they are, and how the last ones ended."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from qupersync_extractor.application.parked import Rebuilds
from qupersync_extractor.interface.page.states import Level
from qupersync_shared.contracts.rebuilds import RebuildTold
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import GroupName

GROUPS_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """One rebuild as the page shows it; `share` is from 0 to 1, None where nobody can tell."""

    told: RebuildTold
    level: Level
    state: str
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRebuilds:
    """The rebuilds in one group's target, or why they are not known."""

    group: GroupName
    shadows: tuple[Shadow, ...]
    trouble: str | None = None

    @property
    def under_way(self) -> tuple[Shadow, ...]:
        """Those that have not ended."""
        return tuple(shadow for shadow in self.shadows if shadow.told.ended_at is None)


async def rebuilds_of(rebuilds: Rebuilds, groups: Sequence[GroupName]) -> tuple[GroupRebuilds, ...]:
    """All groups, asked at once; one that does not answer hides no other."""
    return tuple(await asyncio.gather(*(_of_group(rebuilds, group) for group in groups[:GROUPS_MAX])))


def groups_of(document: Mapping[str, Any]) -> list[GroupName]:
    """The loader groups that the status document knows: by what they applied, or by their processes."""
    found: set[str] = set()
    for entry in (document.get("pipelines") or {}).values():
        found |= set(entry.get("parked") or ())
    found |= {one["group"] for one in document.get("processes") or () if one.get("group") and one.get("alive")}
    return [GroupName(name) for name in sorted(found)]


def shadow(told: RebuildTold) -> Shadow:
    """How far it is, and how it stands: one whose process is gone goes on when somebody starts it again."""
    share = None if told.done is None or not told.total else min(1.0, told.done / told.total)
    if told.ended_at is not None:
        level = Level.BAD if told.trouble else Level.GOOD
        return Shadow(told=told, level=level, state=told.phase, share=share)
    if told.trouble:
        return Shadow(told=told, level=Level.LATE, state=told.phase, share=share)
    if not told.running:
        return Shadow(told=told, level=Level.QUIET, state=f"{told.phase}, nobody is at it", share=share)
    return Shadow(told=told, level=Level.BUSY, state=told.phase, share=share)


async def _of_group(rebuilds: Rebuilds, group: GroupName) -> GroupRebuilds:
    try:
        told = await rebuilds.list(group)
    except QupersyncError as error:
        return GroupRebuilds(group=group, shadows=(), trouble=str(error))
    return GroupRebuilds(group=group, shadows=tuple(shadow(one) for one in told))
