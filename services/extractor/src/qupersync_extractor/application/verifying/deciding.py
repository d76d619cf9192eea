"""Whether what differs is drift: the source moves while it is compared, and the target follows a while later.

A key drifts if, after the pipeline has honestly passed the moment of one look, another look finds both sides where they
were, and still different. What moved in between is looked at again, a few times.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from qupersync_extractor.application.verifying.looking import Difference, Look, Looking
from qupersync_shared.kernel.positions import Key, encode_key

ROUNDS: Final = 3


@dataclass(slots=True, kw_only=True)
class Decided:
    """What is known of the candidates. `known`: a version of the row waits in quarantine, or is withheld.

    `undecided`, and why: the pipeline did not pass the moment of the look in time.
    """

    drift: list[Difference] = field(default_factory=list)
    known: int = 0
    in_motion: int = 0
    undecided: int = 0
    waiting_for: str | None = None


Passed = Callable[[datetime], Awaitable[str | None]]
"""Returns when the group has honestly passed a moment of the source's clock: None; else, in vain, why it has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """One comparison's judgement. `withheld`: encoded keys of rows that no event could carry."""

    looking: Looking
    passed: Passed
    withheld: frozenset[str]
    rounds: int = ROUNDS

    async def decide(self, keys: Sequence[Key]) -> Decided:
        """What becomes of each of the keys."""
        decided = Decided()
        pending = self._differing(await self.looking.look(keys), decided)
        for _ in range(self.rounds):
            if not pending:
                break
            trouble = await self.passed(max(look.at for look in pending))
            if trouble is not None:
                decided.undecided, decided.waiting_for = len(pending), trouble
                return decided
            again = await self.looking.look([look.key for look in pending])
            pending = self._moved(pending, self._differing(again, decided), decided)
        decided.in_motion = len(pending)
        return decided

    def _differing(self, looks: Sequence[Look], decided: Decided) -> list[Look]:
        found = []
        for look in looks:
            if look.equal:
                continue
            if look.refused or look.target.quarantined or encode_key(look.key) in self.withheld:
                decided.known += 1
            else:
                found.append(look)
        return found

    def _moved(self, before: Sequence[Look], now: Sequence[Look], decided: Decided) -> list[Look]:
        """Those that are to be looked at once more; the others drift."""
        earlier = {look.key: look for look in before}
        names = self.looking.compared.schema.names
        moved = []
        for look in now:
            first = earlier[look.key]
            passed = look.honest_time is not None and look.honest_time > first.at
            if passed and look.stands_as(first):
                decided.drift.append(look.difference(names))
            else:
                moved.append(look)
        return moved
