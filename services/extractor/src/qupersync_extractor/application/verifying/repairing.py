"""Mends drift by the ordinary path: the extractor reads the keys again, and loaders apply what it says of them."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from qupersync_extractor.application.ports import Registry
from qupersync_extractor.application.rereads import Rereads
from qupersync_extractor.application.verifying.target import TargetSide
from qupersync_extractor.domain.rereads import Reread, WantedKeys
from qupersync_shared.kernel.errors import TransientError
from qupersync_shared.kernel.ids import PipelineName, uuid7
from qupersync_shared.kernel.positions import Key, encode_key

ASKER: Final = "verification"
KEYS_AT_ONCE: Final = 1_000
_LOOK_SECONDS: Final = 0.5
_NOBODY_READS: Final = "Is `qupersync-extractor run` up, and the pipeline not paused? The keys stay asked for"
_NOBODY_LOADS: Final = "Look at `qupersync status`: what was read again waits to be loaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repairing:
    """Rereads for one pipeline and group, waited for at most `seconds`."""

    pipeline: PipelineName
    registry: Registry
    rereads: Rereads
    target: TargetSide
    seconds: float

    async def repair(self, keys: Sequence[Key]) -> str | None:
        """Returns when what the source has at these keys is applied; why some could not be read, if so.

        TransientError when that takes too long: what was asked for is not forgotten.
        """
        ends = time.monotonic() + self.seconds
        asked = [await self._ask(keys[start : start + KEYS_AT_ONCE]) for start in range(0, len(keys), KEYS_AT_ONCE)]
        refused = await self._until_read(asked, ends)
        await self._until_applied(ends)
        return refused

    async def _ask(self, keys: Sequence[Key]) -> UUID:
        reread = Reread(
            id=uuid7(),
            pipeline=self.pipeline,
            group=ASKER,
            reason=f"a comparison found {len(keys)} keys that differ",
            wanted=WantedKeys(keys=tuple(encode_key(key) for key in keys)),
        )
        if not await self.rereads.request(reread):
            raise TransientError(f"{self.pipeline} has never run", cure="Start `qupersync-extractor run`")
        return reread.id

    async def _until_read(self, asked: Sequence[UUID], ends: float) -> str | None:
        refused: str | None = None
        for one in asked:
            while True:
                known = await self.rereads.get(one)
                if known is None or known.done:
                    refused = refused or (None if known is None else known.refused)
                    break
                await _pause(ends, "were not read again", _NOBODY_READS)
        return refused

    async def _until_applied(self, ends: float) -> None:
        registration = await self.registry.get(self.pipeline)
        if registration is None:
            return
        goal = (registration.state.log, registration.state.sequence)
        while True:
            standing = await self.target.standing()
            if (standing.log, standing.sequence) >= goal:
                return
            await _pause(ends, "were not loaded again", _NOBODY_LOADS)


async def _pause(ends: float, what: str, cure: str) -> None:
    if time.monotonic() > ends:
        raise TransientError(f"the keys that differ {what} in time", cure=cure)
    await asyncio.sleep(_LOOK_SECONDS)
