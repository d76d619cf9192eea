"""A source and a target in memory, with a pipeline between them that follows when it is asked to run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pyarrow as pa
from tests.conformance.loader.events import pipeline as target_pipeline

from qupersync_extractor.application.guarding import SourceGuard
from qupersync_extractor.application.ports import Source
from qupersync_extractor.application.verifying.narrowing import Limits
from qupersync_extractor.application.verifying.ports import SourceDigests as DigestsPort
from qupersync_extractor.application.verifying.records import REQUEST
from qupersync_extractor.application.verifying.verify import Outcome, VerificationPorts, Verify
from qupersync_extractor.domain.pipeline import DeletePolicy, Pipeline, SourceTable
from qupersync_extractor.domain.rereads import Reread, WantedKeys
from qupersync_extractor.infrastructure.memory.digests import MemoryDigests as SourceDigests
from qupersync_extractor.infrastructure.memory.source import MemorySource
from qupersync_extractor.infrastructure.memory.verifications import MemoryVerifications
from qupersync_loader.application.digests import answer
from qupersync_loader.infrastructure.memory.digests import MemoryDigests as TargetDigests
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.contracts.verification import Standing, VerificationReply, VerificationRequest
from qupersync_shared.kernel.ids import GroupName, PipelineName, uuid7
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind, decode_key, encode_key

PEOPLE = SourceTable("main", "people")
SCHEMA = RowSchema(
    columns=tuple(
        Column(name, LogicalType.parse(kind))
        for name, kind in (("id", "bigint"), ("name", "varchar"), ("amount", "double"), ("tags", "super"))
    ),
    key=("id",),
)
SMALL = Limits(stretch_rows=100, range_keys=20, parts=4, listed_rows=7, small_rows=6, candidates=50)


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {"id": number, "name": f"n{number}", "amount": number / 7, "tags": '{"a": 1}', **changes}


def key(number: int) -> Key:
    return (Scalar(ScalarKind.INT, str(number)),)


@dataclass(kw_only=True)
class Rig:
    """`follow` is what a run of the pipeline does; by default the target gets everything, and nothing is missing."""

    source: MemorySource = field(default_factory=MemorySource)
    target: TargetDigests = field(default_factory=TargetDigests)
    deletes: DeletePolicy = DeletePolicy.APPLY
    rows: list[dict[str, Any]] = field(default_factory=list)
    asked: list[VerificationRequest] = field(default_factory=list)
    rereads: list[tuple[str, ...]] = field(default_factory=list)
    runs: int = 0
    follow: Callable[[], None] = lambda: None
    before_answer: Callable[[VerificationRequest], None] = lambda _: None
    withheld: frozenset[str] = frozenset()
    bytes_moved: int = 0
    guard: SourceGuard | None = None

    def __post_init__(self) -> None:
        self.table = self.source.table(PEOPLE, SCHEMA.columns)
        self.verifications = MemoryVerifications(lambda: self.source.now)
        self.digests = SourceDigests(self.source)

    def fill(self, count: int) -> None:
        """The same rows on both sides."""
        self.table.insert(*(row(number) for number in range(count)))
        self.rows = [row(number) for number in range(count)]

    def change(self, number: int, **changes: Any) -> None:
        """A change of the target by hand; without changes the row goes."""
        self.rows = [held for held in self.rows if held["id"] != number or changes]
        self.rows = [{**held, **changes} if held["id"] == number else held for held in self.rows]

    async def verify(self, *, repair: bool = False, limits: Limits = SMALL, seconds: float = 5) -> Outcome:
        verification = uuid7()
        name, group = PipelineName("people"), GroupName("main")
        await self.verifications.begin(verification, name, group, cause=REQUEST)
        source: Source = self.source
        digests: DigestsPort = self.digests
        if self.guard is not None:
            source, digests = self.guard.of_comparison(source, digests, name)
        ports = VerificationPorts(
            source=source,
            digests=digests,
            loaders=self,
            registry=self,  # type: ignore[arg-type]  # of which two methods are asked
            rereads=self,  # type: ignore[arg-type]  # the same
            verifications=self.verifications,
        )
        definition = Pipeline(
            name=name,
            relation=PEOPLE,
            key=SCHEMA.key,
            cursor=None,
            lookback=timedelta(0),
            safety_lag=timedelta(0),
            page_rows=100,
            lanes=1,
            snapshot_every=None,
            deletes=self.deletes,
        )
        verify = Verify(
            pipeline=definition, group=group, ports=ports, withheld=self.withheld, seconds=seconds, limits=limits
        )
        return await verify(verification, repair=repair)

    # The port `Loaders`.

    async def ask(self, request: VerificationRequest) -> VerificationReply:
        request = VerificationRequest.model_validate_json(request.model_dump_json())
        self.asked.append(request)
        self.before_answer(request)
        self.target.batch = pa.RecordBatch.from_pylist(self.rows, schema=SCHEMA.arrow())
        reply = await answer(self.target, target_pipeline(name=PipelineName("people")), request)
        return VerificationReply.model_validate_json(reply.model_dump_json(exclude_defaults=True))

    # Of the port `Registry`.

    async def request_run(self, pipeline: PipelineName, mode: str | None) -> None:
        del pipeline, mode
        self.runs += 1
        self.source.advance(timedelta(seconds=1))
        self.follow()
        standing = self.target.standing
        self.target.standing = Standing(log=1, sequence=standing.sequence + 1, honest_time=self.source.now)

    async def get(self, wanted: PipelineName | UUID) -> Any:
        if isinstance(wanted, UUID):
            return self._done(wanted)
        standing = self.target.standing
        return SimpleNamespace(state=SimpleNamespace(log=standing.log, sequence=standing.sequence))

    # Of the port `Rereads`.

    async def request(self, reread: Reread) -> bool:
        assert isinstance(reread.wanted, WantedKeys)
        self.rereads.append(reread.wanted.keys)
        numbers = {int(decode_key(text)[0].text) for text in reread.wanted.keys}
        fresh = [held for held in self.table.rows if held["id"] in numbers]
        self.rows = [held for held in self.rows if held["id"] not in numbers] + [dict(held) for held in fresh]
        return True

    def _done(self, wanted: UUID) -> Reread:
        return Reread(
            id=wanted, pipeline=PipelineName("people"), group="", reason="", wanted=WantedKeys(keys=("x",)), done=True
        )


def encoded(numbers: Sequence[int]) -> list[str]:
    return [encode_key(key(number)) for number in numbers]
