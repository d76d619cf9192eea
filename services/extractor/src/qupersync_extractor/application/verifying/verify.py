"""The use case: compares a pipeline's source with a group's target, and mends what drifts if asked to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from qupersync_extractor.application.ports import Registry, Source
from qupersync_extractor.application.relation import row_schema
from qupersync_extractor.application.rereads import Rereads
from qupersync_extractor.application.verifying.deciding import Decided, Deciding
from qupersync_extractor.application.verifying.looking import Difference, Looking
from qupersync_extractor.application.verifying.looking import Kind as DifferenceKind
from qupersync_extractor.application.verifying.narrowing import LIMITS, Limits, Narrowed, Narrowing
from qupersync_extractor.application.verifying.passing import Passing
from qupersync_extractor.application.verifying.ports import Compared, Loaders, SourceDigests
from qupersync_extractor.application.verifying.records import KEYS_KEPT, VerificationCounts, Verifications
from qupersync_extractor.application.verifying.repairing import Repairing
from qupersync_extractor.application.verifying.target import TargetSide
from qupersync_extractor.domain.pipeline import DeletePolicy, Pipeline, SourceEntity
from qupersync_shared.contracts.row_digests import Form, digested_columns
from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.kernel.positions import encode_key

_REPAIR_ROUNDS: Final = 2


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a comparison has found. `drift`: what differs now, after any repair.

    `unseen`: columns of which sums only tell whether there is a value. `cut`: more keys may differ. `refused`: why
    some keys could not be read again. `snapshots`: whether snapshots come by themselves, which remove what the source
    has deleted.
    """

    narrowed: Narrowed = field(default_factory=Narrowed)
    decided: Decided = field(default_factory=Decided)
    repaired: int = 0
    refused: str | None = None
    unseen: tuple[str, ...] = ()
    bytes_moved: int = 0
    snapshots: bool = False

    @property
    def drift(self) -> Sequence[Difference]:
        return self.decided.drift

    @property
    def cut(self) -> bool:
        return self.narrowed.cut

    @property
    def equal(self) -> bool:
        """Whether no difference is left, and nothing undecided."""
        return not self.drift and not self.decided.undecided and not self.cut

    @property
    def leaving(self) -> int:
        """How many of the differences leave with the next snapshot: rows of which the source has nothing any more."""
        return sum(one.kind is DifferenceKind.EXTRA for one in self.drift) if self.snapshots else 0

    def counts(self) -> VerificationCounts:
        """What is remembered. What leaves by itself is in motion, and makes nothing degraded."""
        lasting = [one for one in self.drift if not (self.snapshots and one.kind is DifferenceKind.EXTRA)]
        return VerificationCounts(
            source_rows=self.narrowed.source_rows,
            target_rows=self.narrowed.target_rows,
            ranges=self.narrowed.ranges,
            bytes_moved=self.bytes_moved,
            differing=len(lasting),
            in_motion=self.decided.in_motion + self.decided.undecided + self.leaving,
            repaired=self.repaired,
            keys=tuple(encode_key(difference.key) for difference in lasting[:KEYS_KEPT]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationPorts:
    """What the use case works with; source and digests are the comparison's own, so that extraction never waits."""

    source: Source
    digests: SourceDigests
    loaders: Loaders
    registry: Registry
    rereads: Rereads
    verifications: Verifications


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """One comparison of one pipeline with one loader group.

    `withheld`: encoded keys of rows that no event could carry. `without_nul`: the owner has NUL bytes taken out.
    `seconds`: how long to wait for the pipeline, each time that it is waited for.
    """

    pipeline: Pipeline
    group: GroupName
    ports: VerificationPorts
    withheld: frozenset[str]
    seconds: float
    without_nul: bool = False
    limits: Limits = LIMITS
    told: Callable[[Narrowed], None] = lambda _: None

    async def __call__(self, verification: UUID, *, repair: bool) -> Outcome:
        """The outcome, recorded under this id, which was begun. What ends it early is recorded too, and raised."""
        outcome = Outcome()
        try:
            await self._compare(outcome, repair=repair)
        except BaseException as error:
            reason = str(error) if isinstance(error, QupersyncError) else f"it was ended by {type(error).__name__}"
            await self.ports.verifications.end(verification, counts=outcome.counts(), error=reason)
            raise
        # Drift that was found is worth more than what could not be decided.
        undecided = None if outcome.drift else outcome.decided.waiting_for
        await self.ports.verifications.end(verification, counts=outcome.counts(), error=undecided)
        return outcome

    async def _compare(self, outcome: Outcome, *, repair: bool) -> None:
        check_comparable(self.pipeline)
        outcome.snapshots = self.pipeline.cursor is not None and self.pipeline.snapshot_every is not None
        compared = await self._compared()
        outcome.unseen = tuple(one.column.name for one in compared.columns if one.form is Form.PRESENCE)
        target = TargetSide(self.ports.loaders, self.group, self.pipeline.name, compared)
        deciding = self._deciding(target, compared)
        try:
            outcome.narrowed = await self._narrowing(target, compared).run()
            if outcome.cut and await deciding.passed((await self.ports.source.clock()).now) is None:
                # The target may just have been far behind: what it has got since is not worth looking into.
                outcome.narrowed = await self._narrowing(target, compared).run()
            outcome.decided = await deciding.decide(outcome.narrowed.candidates)
            if repair:
                await self._repair(outcome, target, deciding)
        finally:
            outcome.bytes_moved = self.ports.digests.bytes_moved + self.ports.loaders.bytes_moved

    @property
    def _keeps(self) -> bool:
        return self.pipeline.deletes is DeletePolicy.KEEP

    def _narrowing(self, target: TargetSide, compared: Compared) -> Narrowing:
        return Narrowing(
            source=self.ports.digests,
            target=target,
            compared=compared,
            keeps=self._keeps,
            limits=self.limits,
            told=self.told,
        )

    async def _compared(self) -> Compared:
        schema = await row_schema(self.ports.source, self.pipeline)
        plain = Compared(relation=self.pipeline.relation, schema=schema, columns=digested_columns(schema))
        return replace(plain, columns=digested_columns(schema, await self.ports.digests.opaque(plain)))

    def _deciding(self, target: TargetSide, compared: Compared) -> Deciding:
        looking = Looking(
            source=self.ports.source,
            target=target,
            compared=compared,
            cursor=self.pipeline.cursor,
            without_nul=self.without_nul,
            keeps=self._keeps,
        )
        passing = Passing(pipeline=self.pipeline, registry=self.ports.registry, target=target, seconds=self.seconds)
        return Deciding(looking=looking, passed=passing, withheld=self.withheld)

    async def _repair(self, outcome: Outcome, target: TargetSide, deciding: Deciding) -> None:
        repairing = Repairing(
            pipeline=self.pipeline.name,
            registry=self.ports.registry,
            rereads=self.ports.rereads,
            target=target,
            seconds=self.seconds,
        )
        for _ in range(_REPAIR_ROUNDS):
            keys = [difference.key for difference in outcome.drift]
            if not keys:
                break
            outcome.refused = await repairing.repair(keys)
            again = await deciding.decide(keys)
            outcome.repaired += len(keys) - len(again.drift) - again.in_motion - again.undecided - again.known
            outcome.decided = replace(
                again,
                known=again.known + outcome.decided.known,
                in_motion=again.in_motion + outcome.decided.in_motion,
                undecided=again.undecided + outcome.decided.undecided,
            )
            if outcome.refused is not None:
                break


def check_comparable(pipeline: Pipeline) -> None:
    """ConfigurationError for what has no rows that stand still long enough to be compared."""
    if isinstance(pipeline.relation, SourceEntity):
        raise ConfigurationError(
            f"{pipeline.name} is put together from several system views, which change from read to read",
            place=f"pipelines.{pipeline.name}",
            cure="Leave out `verify`: tables and queries can be compared",
        )
