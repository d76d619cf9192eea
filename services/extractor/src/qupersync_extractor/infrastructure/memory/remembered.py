"""Remembered facts in memory."""

from collections.abc import Collection, Mapping
from copy import deepcopy
from datetime import timedelta

from qupersync_extractor.application.remembering import JSON, KEYS_MAX, USED_EVERY_HOURS, Facts, checked
from qupersync_extractor.infrastructure.memory.store import MemoryStore, RememberedRow


class MemoryRemembered:
    """The remembered facts of a MemoryStore."""

    def __init__(self, store: MemoryStore, *, keys_max: int = KEYS_MAX) -> None:
        self._store = store
        self._keys_max = keys_max

    async def recall(self, subject: str, keys: Collection[str]) -> dict[str, Facts]:
        self._store.check()
        found = {}
        for key in sorted(set(keys)):
            row = self._store.remembered.get((subject, key))
            if row is not None:
                self._use(row)
                found[key] = deepcopy(row.facts)
        return found

    async def remember(self, subject: str, facts: Mapping[str, Mapping[str, JSON]]) -> None:
        kept = checked(facts)
        self._store.check()
        for key, said in kept.items():
            row = self._store.remembered.get((subject, key))
            if row is None or row.facts != said:
                self._store.remembered[subject, key] = RememberedRow(facts=said, used_at=self._store.now())
            else:
                self._use(row)
        known = sorted((row.used_at, place) for place, row in self._store.remembered.items() if place[0] == subject)
        for _, place in known[: max(0, len(known) - self._keys_max)]:
            del self._store.remembered[place]

    def _use(self, row: RememberedRow) -> None:
        now = self._store.now()
        if now - row.used_at > timedelta(hours=USED_EVERY_HOURS):
            row.used_at = now
