"""What a process looks at beside its work when it starts: found once, logged once, shown for as long as it lasts."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.plugins import CheckRow, Verdict

NOTICES_MAX: Final = 6
NOTICE_CHARACTERS: Final = 300
_TURN_SECONDS: Final = 1.0
_AFTER_FAILURE_SECONDS: Final = 10.0
_AFTER_WARNING_SECONDS: Final = 600.0

Definition = TypeVar("Definition")

_log = get_logger(__name__)


class Tell(Protocol):
    """Shows what was found of a pipeline; twice nothing: there is nothing to show any more."""

    def __call__(self, pipeline: str, *, failure: str | None, notices: Sequence[str]) -> None: ...


@dataclass(slots=True, kw_only=True)
class _Looked:
    definition: object
    again_at: float | None
    logged: set[tuple[str, str]]


@dataclass(slots=True, kw_only=True)
class StartLooks(Generic[Definition]):
    """Looks at each pipeline when it begins, and again while something is wrong with it, or it is defined anew.

    `look` yields each pipeline's rows as they are found. Whatever it raises is logged, and ends nothing: the work goes
    on beside it.
    """

    pipelines: Callable[[], Mapping[str, Definition]]
    look: Callable[[Sequence[Definition]], AsyncGenerator[tuple[str, list[CheckRow]], None]]
    tell: Tell
    _looked: dict[str, _Looked] = field(default_factory=dict)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.turn()
            except Exception:  # noqa: BLE001  # a defect in looking must not end the work
                _log.exception("preflight_failed")
                await asyncio.sleep(_AFTER_FAILURE_SECONDS)
            await asyncio.sleep(_TURN_SECONDS)

    async def turn(self) -> None:
        """Looks once at everything that is due."""
        wanted = self.pipelines()
        for name in self._looked.keys() - wanted.keys():
            del self._looked[name]
        now = time.monotonic()
        due = {name: definition for name, definition in wanted.items() if self._is_due(name, definition, now)}
        if not due:
            return
        for name, definition in due.items():
            known = self._looked.get(name)
            logged = known.logged if known is not None and known.definition == definition else set()
            self._looked[name] = _Looked(definition=definition, again_at=now + _AFTER_FAILURE_SECONDS, logged=logged)
        async with aclosing(self.look(list(due.values()))) as found:
            async for name, rows in found:
                if (
                    name in self._looked and self.pipelines().get(name) == due[name]
                ):  # it may have been let go meanwhile
                    self._found(name, rows)

    def _is_due(self, name: str, definition: Definition, now: float) -> bool:
        known = self._looked.get(name)
        return known is None or known.definition != definition or (known.again_at is not None and known.again_at <= now)

    def _found(self, name: str, rows: Sequence[CheckRow]) -> None:
        looked = self._looked[name]
        worrying = [row for row in rows if row.verdict in {Verdict.WARNING, Verdict.FAILED}]
        for row in worrying:
            if (row.subject, row.message) not in looked.logged:
                looked.logged.add((row.subject, row.message))
                _log.warning(
                    "preflight",
                    pipeline=name,
                    subject=row.subject,
                    verdict=row.verdict.value,
                    found=row.message,
                    cure=row.cure,
                )
        failures = [_words(row) for row in worrying if row.verdict is Verdict.FAILED]
        warnings = [_notice(row) for row in worrying if row.verdict is Verdict.WARNING]
        self.tell(name, failure="; ".join(failures) or None, notices=warnings[:NOTICES_MAX])
        looked.again_at = _again_at(rows)


def _again_at(rows: Sequence[CheckRow]) -> float | None:
    verdicts = {row.verdict for row in rows}
    if verdicts & {Verdict.FAILED, Verdict.UNKNOWN}:
        return time.monotonic() + _AFTER_FAILURE_SECONDS
    return time.monotonic() + _AFTER_WARNING_SECONDS if Verdict.WARNING in verdicts else None


def _words(row: CheckRow) -> str:
    """As the error itself reads: where the work meets the same thing, it is shown once."""
    return f"{row.message}. {row.cure}" if row.cure else row.message


def _notice(row: CheckRow) -> str:
    text = f"{row.subject}: {row.message}"
    return text if len(text) <= NOTICE_CHARACTERS else text[: NOTICE_CHARACTERS - 1] + "…"
