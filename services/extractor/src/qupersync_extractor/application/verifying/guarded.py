"""A comparison's digests behind the gate to the source: each statement is a read, however little it answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from qupersync_extractor.application.ports import KeyRange
from qupersync_extractor.application.source_gate import ONE_ANSWER, SourceGate, count
from qupersync_extractor.application.verifying.ports import Compared, KeyedDigest, SourceDigests, SourceRange
from qupersync_extractor.domain.source_budget import Amount
from qupersync_shared.kernel.positions import Key

_DIGEST_BYTES = 64  # a key and what stands for its row


@dataclass(frozen=True, slots=True)
class GuardedDigests:
    """The port `SourceDigests` behind a gate."""

    digests: SourceDigests
    gate: SourceGate

    async def opaque(self, compared: Compared) -> frozenset[str]:
        await self.gate.open()
        return await self.digests.opaque(compared)

    async def stretch_end(self, compared: Compared, within: KeyRange, *, rows: int) -> Key | None:
        async with self.gate.passed(ONE_ANSWER) as turn:
            found = await self.digests.stretch_end(compared, within, rows=rows)
            count(turn, ONE_ANSWER)
            return found

    async def ranges(self, compared: Compared, within: KeyRange, *, keys: int) -> Sequence[SourceRange]:
        async with self.gate.passed(ONE_ANSWER) as turn:
            found = await self.digests.ranges(compared, within, keys=keys)
            count(turn, Amount(rows=len(found), bytes=len(found) * _DIGEST_BYTES))
            return found

    async def rows(self, compared: Compared, within: KeyRange, *, limit: int) -> Sequence[KeyedDigest]:
        async with self.gate.passed(Amount(rows=limit, bytes=limit * _DIGEST_BYTES)) as turn:
            found = await self.digests.rows(compared, within, limit=limit)
            count(turn, Amount(rows=len(found), bytes=len(found) * _DIGEST_BYTES))
            return found

    @property
    def bytes_moved(self) -> int:
        return self.digests.bytes_moved
