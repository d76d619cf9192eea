"""What keeps this process from loading, by pipeline and place; whoever shows it is woken at every change."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from qupersync_shared.kernel.ids import Lane, PipelineName
from qupersync_shared.runtime.lane_words import told_once

TARGET: Final = "target"
STATE: Final = "target state"
STREAM: Final = "stream"
CONFIGURATION: Final = "configuration"
PREFLIGHT: Final = "preflight"
PROCESS: Final = PipelineName("")  # the process itself, in the place of a pipeline
_SHOWN: Final = 3
_SPOKEN: Final = {TARGET: "target", STATE: "target", STREAM: "stream"}


def lane_place(lane: Lane) -> str:
    return f"lane {lane}"


class Troubles:
    """Reasons by pipeline and place. Setting what is known already wakes nobody."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[PipelineName, str], str] = {}
        self._notices: dict[str, list[str]] = {}
        self._changed = asyncio.Event()

    def set(self, pipelines: Iterable[PipelineName], place: str, reason: str | None) -> None:
        """The reason at this place of these pipelines; None: there is none any more."""
        for pipeline in pipelines:
            key = (pipeline, place)
            if reason is None:
                changed = self._reasons.pop(key, None) is not None
            else:
                changed = self._reasons.get(key) != reason
                self._reasons[key] = reason
            if changed:
                self._changed.set()

    def forget(self, pipeline: PipelineName) -> None:
        """The pipeline is not served any more: whatever was said of it is over."""
        for key in [key for key in self._reasons if key[0] == pipeline]:
            del self._reasons[key]
            self._changed.set()
        self._notices.pop(pipeline, None)

    def note(self, pipeline: PipelineName, notices: Sequence[str]) -> None:
        """What keeps nothing from loading and a person should know, in the place of what was noted before."""
        self._notices.pop(pipeline, None)
        if notices:
            self._notices[pipeline] = list(notices)

    def notices(self) -> dict[str, list[str]]:
        """The notices of each pipeline that has some."""
        return dict(self._notices)

    def reason(self, pipeline: PipelineName, place: str) -> str | None:
        return self._reasons.get((pipeline, place))

    def by_pipeline(self) -> dict[str, str]:
        """One line for every pipeline that has a trouble: the target's first, then the stream's, then its lanes'."""
        gathered: dict[str, list[str]] = {}
        for (pipeline, place), reason in sorted(self._reasons.items(), key=lambda item: _rank(item[0][1])):
            text = f"{_SPOKEN[place]}: {reason}" if place in _SPOKEN else reason
            gathered.setdefault(pipeline, []).append(text)
        return {pipeline: _cut(told_once(reasons)) for pipeline, reasons in gathered.items()}

    def lanes(self) -> dict[tuple[PipelineName, str], str]:
        """The reasons of single lanes."""
        return {key: reason for key, reason in self._reasons.items() if key[1].startswith("lane ")}

    async def changed(self, seconds: float) -> None:
        """Returns at the next change, or after so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()


def _cut(reasons: Sequence[str]) -> str:
    more = len(reasons) - _SHOWN
    return "; ".join(reasons[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _rank(place: str) -> tuple[int, str]:
    return {TARGET: 0, STATE: 0, STREAM: 1}.get(place, 2), place
