"""How much moves: rows a second from the ledger's newest pages, events a second from what is published and applied."""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from qupersync_extractor.application.ledger import LedgerEntry
from qupersync_extractor.interface.page.words import read_moment

WINDOW_SECONDS: Final = 60.0
PAGES_MAX: Final = 1000
_LOOKS_MAX: Final = 64
_SECONDS_MIN: Final = 1.0


def rows_per_second(entries: Sequence[LedgerEntry], now: datetime) -> dict[str, float]:
    """What was extracted in the last minute, or, of more pages than were read, in the time that these cover."""
    if not entries:
        return {}
    whole = len(entries) < PAGES_MAX
    oldest = min(entry.extracted_at for entry in entries)
    covered = WINDOW_SECONDS if whole else max(_SECONDS_MIN, (now - oldest).total_seconds())
    rows: defaultdict[str, int] = defaultdict(int)
    for entry in entries:
        if (now - entry.extracted_at).total_seconds() <= covered:
            rows[str(entry.pipeline)] += entry.rows
    return {pipeline: count / covered for pipeline, count in rows.items()}


@dataclass(frozen=True, slots=True)
class _Look:
    at: datetime
    published: Mapping[tuple[str, int], tuple[int, int]]
    applied: Mapping[tuple[str, int, str], tuple[int, int]]


@dataclass(slots=True)
class Flow:
    """Events that went by at stream and loaders, seen by comparing documents of the last minute."""

    _looks: deque[_Look] = field(default_factory=lambda: deque(maxlen=_LOOKS_MAX))

    def see(self, document: Mapping[str, Any]) -> None:
        """Remembers how far every lane is; the same document counts once."""
        at = read_moment(document.get("as_of"))
        if at is None or (self._looks and at <= self._looks[-1].at):
            return
        published: dict[tuple[str, int], tuple[int, int]] = {}
        applied: dict[tuple[str, int, str], tuple[int, int]] = {}
        for name, entry in (document.get("pipelines") or {}).items():
            for lane in entry.get("lanes") or ():
                number = lane["lane"]
                if lane.get("published_log") is not None and lane.get("published_sequence") is not None:
                    published[name, number] = lane["published_log"], lane["published_sequence"]
                for group, told in (lane.get("groups") or {}).items():
                    applied[name, number, group] = told["log"], told["sequence"]
        self._looks.append(_Look(at, published, applied))
        while (at - self._looks[0].at).total_seconds() > WINDOW_SECONDS:
            self._looks.popleft()

    @property
    def published_per_second(self) -> float | None:
        """Events that reached the stream; None until two documents were seen."""
        return self._per_second("published")

    @property
    def applied_per_second(self) -> float | None:
        """Events that loaders applied; None until two documents were seen."""
        return self._per_second("applied")

    def _per_second(self, what: str) -> float | None:
        if len(self._looks) < 2:  # noqa: PLR2004
            return None
        first, last = self._looks[0], self._looks[-1]
        then, now = getattr(first, what), getattr(last, what)
        moved = sum(_moved(then.get(key), place) for key, place in now.items())
        return float(moved / max(_SECONDS_MIN, (last.at - first.at).total_seconds()))


def _moved(then: tuple[int, int] | None, now: tuple[int, int]) -> int:
    """Events between two places of one lane; a new log counts from its beginning, what was put back counts nothing."""
    if then is None:
        return 0
    if then[0] == now[0]:
        return max(0, now[1] - then[1])
    return now[1] if now[0] > then[0] else 0
