"""What is parked in targets, and rebuilds, in memory."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from qupersync_extractor.application.parked import ParkedPage, Place, Reasons, Redriven, UnknownEntryError, Wanted
from qupersync_shared.contracts.parked import Chosen, ParkedEntry, ParkedKind, ReasonTold, kind_of_reason
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.records import Field, Listing, Query
from qupersync_shared.runtime.records.listing import select

DISCARDED = "discarded"
_LISTING = Listing(
    name="parked content",
    filters={name: Field(attribute=name) for name in ("place", "settled", "reason")},
    sorts={"number": ("number",)},
    identity="number",
    default_sort="-number",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    number: int
    entry: ParkedEntry
    place: str
    settled: str
    reason: str


@dataclass
class MemoryParked:
    """`trouble`, while set, is raised by every call. `asked`: what was redriven, by request, once for each."""

    trouble: QupersyncError | None = None
    asked: dict[UUID, list[str]] = field(default_factory=dict)
    _entries: dict[tuple[Place, ParkedKind], list[ParkedEntry]] = field(default_factory=lambda: defaultdict(list))

    def park(self, place: Place, kind: ParkedKind, entry: ParkedEntry) -> None:
        """Adds an entry; ids are numbers that grow."""
        self._entries[place, kind].append(entry)

    async def page(self, place: Place, wanted: Wanted) -> ParkedPage:
        def told(settled: bool, reason: str) -> dict[str, str]:
            named = reason if wanted.reason is not None else ""
            return {"place": f"{place}/{wanted.kind}", "settled": str(settled), "reason": named}

        records = [
            _Record(number=int(entry.id), entry=entry, **told(wanted.settled, kind_of_reason(entry.reason)))
            for entry in self._of(place, wanted.kind)
            if wanted.settled or entry.resolution is None
        ]
        filters = told(wanted.settled, wanted.reason or "")
        found = select(_LISTING, Query(filters=filters, cursor=wanted.cursor, limit=wanted.limit), records)
        return ParkedPage(entries=tuple(one.entry for one in found.items), next_cursor=found.next_cursor)

    async def reasons(self, place: Place, kind: ParkedKind) -> Reasons:
        waiting = [entry for entry in self._of(place, kind) if entry.resolution is None]
        kinds: dict[str, list[ParkedEntry]] = defaultdict(list)
        for entry in waiting:
            kinds[kind_of_reason(entry.reason)].append(entry)
        told = [
            ReasonTold(
                reason=name,
                example=min(entry.reason for entry in entries),
                count=len(entries),
                first_seen=min(entry.first_seen for entry in entries),
                last_seen=max(entry.last_seen for entry in entries),
            )
            for name, entries in kinds.items()
        ]
        return Reasons(reasons=tuple(sorted(told, key=lambda one: (-one.count, one.reason))), total=len(waiting))

    async def entry(self, place: Place, kind: ParkedKind, id_: str) -> ParkedEntry:
        for entry in self._of(place, kind):
            if entry.id == id_:
                return entry
        raise UnknownEntryError(f"there is no entry {id_}", cure="The list shows those there are")

    async def redrive(self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str, request: UUID) -> Redriven:
        del by
        names = [entry.id for entry in self._chosen(place, kind, chosen)]
        self.asked.setdefault(request, names)
        return Redriven(asked=len(names))

    async def discard(self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str) -> int:
        found = self._chosen(place, kind, chosen)
        entries = self._entries[place, kind]
        for entry in found:
            settled = {"resolution": DISCARDED, "resolved_at": datetime.now(UTC), "resolved_by": by}
            entries[entries.index(entry)] = entry.model_copy(update=settled)
        return len(found)

    def _chosen(self, place: Place, kind: ParkedKind, chosen: Chosen) -> list[ParkedEntry]:
        return [
            entry
            for entry in self._of(place, kind)
            if entry.resolution is None
            and (not chosen.ids or entry.id in chosen.ids)
            and (chosen.reason is None or kind_of_reason(entry.reason) == chosen.reason)
            and (chosen.after is None or int(entry.id) > int(chosen.after))
        ]

    def _of(self, place: Place, kind: ParkedKind) -> Sequence[ParkedEntry]:
        if self.trouble is not None:
            raise self.trouble
        return self._entries[place, kind]
