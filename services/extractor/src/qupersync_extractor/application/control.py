"""What people decide of a pipeline: whether it is paused, why, who said so and when. Removed pipelines keep theirs."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Protocol, Self

from qupersync_extractor.application.actions import ActionKind
from qupersync_shared.kernel.errors import QupersyncError, TransientError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.records import Audit, Field, Listing, Match, Page, Query, StaleVersionError

REASON_CHARACTERS_MAX: Final = 500
CONFIGURATION: Final = "configuration"
_NOTE_TRIES: Final = 5


class NeverRunError(QupersyncError):
    """The pipeline is configured, and no extractor has ever taken it up."""


def _yes_or_no(text: str) -> bool:
    if text not in {"yes", "no"}:
        raise ValueError("write yes or no")
    return text == "yes"


LISTING: Final = Listing(
    name="pipelines",
    filters={
        "pipeline": Field(attribute="pipeline"),
        "paused": Field(attribute="paused", parse=_yes_or_no),
        "removed": Field(attribute="deleted_at", match=Match.IS_SET, parse=_yes_or_no),
    },
    sorts={"pipeline": ("pipeline",), "updated_at": ("updated_at",)},
    identity="pipeline",
    default_sort="pipeline",
)


@dataclass(kw_only=True)
class PipelineControl(Audit):
    """One pipeline's record. Its methods change it; a unit of work keeps the change, and counts its version."""

    pipeline: PipelineName
    paused: bool = False
    reason: str | None = None

    def pause(self, *, by: str, at: datetime, reason: str | None = None, version: int | None = None) -> None:
        """From now on nothing new is extracted. StaleVersionError where somebody else decided since `version`."""
        self.expect(version, what=str(self.pipeline))
        told = _in_a_line(reason)
        if self.paused and told in (None, self.reason):
            return  # it stays whoever paused it, and since then
        self.paused, self.reason = True, told
        self._by(by, at)

    def resume(self, *, by: str, at: datetime, version: int | None = None) -> None:
        """Extraction goes on where it was. StaleVersionError as `pause`."""
        self.expect(version, what=str(self.pipeline))
        if self.paused:
            self.paused, self.reason = False, None
            self._by(by, at)

    def reset(self, *, by: str, at: datetime, version: int | None = None) -> None:
        """Somebody begins the pipeline anew; it stays paused if it was. StaleVersionError as `pause`."""
        self.expect(version, what=str(self.pipeline))
        self._by(by, at)

    def remove(self, *, by: str, at: datetime) -> None:
        """The configuration no longer has the pipeline; what was decided of it stays, for when it comes back."""
        if not self.deleted:
            self.deleted_at, self.deleted_by = at, by
            self._by(by, at)

    def restore(self, *, by: str, at: datetime) -> None:
        """The configuration has the pipeline again."""
        if self.deleted:
            self.deleted_at = self.deleted_by = None
            self._by(by, at)

    def _by(self, by: str, at: datetime) -> None:
        self.updated_by, self.updated_at = by, at


class PipelineControls(Protocol):
    """The records, inside a unit of work."""

    async def get(self, pipeline: PipelineName) -> PipelineControl | None:
        """The pipeline's record, as it is committed; changes to it are kept by `commit`."""
        ...

    async def make(self, pipeline: PipelineName, *, by: str) -> PipelineControl:
        """The pipeline's record, made if there is none."""
        ...

    async def page(self, query: Query) -> Page[PipelineControl]:
        """Records as `LISTING` allows to ask for them."""
        ...

    async def now(self) -> datetime:
        """The database's clock."""
        ...


class ControlWork(Protocol):
    """One transaction on the records: nothing is kept unless `commit` was awaited; leaving without it rolls back.

    `commit` is a StaleVersionError where somebody else changed one of the records since it was read.
    """

    @property
    def controls(self) -> PipelineControls: ...

    async def record(
        self,
        action: ActionKind,
        pipeline: PipelineName,
        *,
        by: str,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Keeps, with the commit, that it was decided."""
        ...

    async def commit(self) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ControlWorkFactory(Protocol):
    def __call__(self) -> ControlWork: ...


async def pause(
    begin: ControlWorkFactory, pipeline: PipelineName, *, by: str, reason: str | None, version: int | None
) -> PipelineControl:
    """Pauses a pipeline, and records who did; the record as it is then. NeverRunError."""
    async with begin() as work:
        control = await _known(work, pipeline)
        control.pause(by=by, at=await work.controls.now(), reason=reason, version=version)
        await work.record(ActionKind.PAUSE, pipeline, by=by, reason=_in_a_line(reason))
        await work.commit()
        return control


async def resume(begin: ControlWorkFactory, pipeline: PipelineName, *, by: str, version: int | None) -> PipelineControl:
    """Lets a paused pipeline go on, and records who did; the record as it is then. NeverRunError."""
    async with begin() as work:
        control = await _known(work, pipeline)
        control.resume(by=by, at=await work.controls.now(), version=version)
        await work.record(ActionKind.RESUME, pipeline, by=by)
        await work.commit()
        return control


async def decide_reset(
    begin: ControlWorkFactory, pipeline: PipelineName, *, lanes: int, by: str, reason: str | None, version: int | None
) -> None:
    """Records who begins a pipeline anew, which raises its version: of two who decide at once, one is told so."""
    async with begin() as work:
        control = await work.controls.make(pipeline, by=by)
        control.reset(by=by, at=await work.controls.now(), version=version)
        await work.record(ActionKind.RESET, pipeline, by=by, reason=_in_a_line(reason), details={"lanes": lanes})
        await work.commit()


def names_of(pipelines: Iterable[str]) -> frozenset[PipelineName]:
    """The pipelines' names."""
    return frozenset(PipelineName(name) for name in pipelines)


async def note_configured(begin: ControlWorkFactory, pipelines: frozenset[PipelineName], *, by: str) -> None:
    """Every configured pipeline has a record that is not removed; records of others are marked as removed.

    Other processes may note the same at the same time: who comes later finds it noted. TransientError where they do
    not agree, and change it back and forth.
    """
    for _ in range(_NOTE_TRIES):
        with suppress(StaleVersionError):
            await _note_configured(begin, pipelines, by=by)
            return
    raise TransientError(
        "what pipelines are configured is changed by several processes at once",
        cure="Give all extractors of one outbox the same file",
    )


async def _note_configured(begin: ControlWorkFactory, pipelines: frozenset[PipelineName], *, by: str) -> None:
    async with begin() as work:
        at = await work.controls.now()
        for pipeline in sorted(pipelines):
            (await work.controls.make(pipeline, by=by)).restore(by=by, at=at)
        cursor: str | None = None
        while True:
            page = await work.controls.page(Query(filters={"removed": False}, cursor=cursor, limit=500))
            for control in page.items:
                if control.pipeline not in pipelines:
                    control.remove(by=by, at=at)
            cursor = page.next_cursor
            if cursor is None:
                break
        await work.commit()


def _in_a_line(reason: str | None) -> str | None:
    return None if reason is None else " ".join(reason.split())[:REASON_CHARACTERS_MAX]


async def _known(work: ControlWork, pipeline: PipelineName) -> PipelineControl:
    control = await work.controls.get(pipeline)
    if control is None:
        raise NeverRunError(
            f"{pipeline} has never run", cure="Start `qupersync-extractor run`: pipelines are known from then on"
        )
    return control
