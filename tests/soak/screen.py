"""Progress: one line that is written over on a terminal, a line now and then elsewhere, nothing for scripts."""

import time
from contextlib import suppress
from dataclasses import dataclass, field

from rich.console import Console
from rich.status import Status

_PLAIN_EVERY_SECONDS = 15.0


@dataclass(slots=True, kw_only=True)
class Screen:
    """Where a run says what it does."""

    console: Console
    quiet: bool
    _shown_at: float = field(default=float("-inf"))
    _status: Status | None = None

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self.quiet:
            self.console.print(text, markup=False, soft_wrap=True)

    def progress(self, text: str) -> None:
        """What happens at the moment."""
        if self.quiet:
            return
        if self.console.is_terminal:
            if self._status is None:
                self._status = self.console.status(text)
                self._status.start()
            self._status.update(text)
            return
        now = time.monotonic()
        if now - self._shown_at >= _PLAIN_EVERY_SECONDS:
            self._shown_at = now
            self.say(text)

    def settle(self) -> None:
        """The line that is written over goes."""
        status, self._status = self._status, None
        if status is not None:
            with suppress(Exception):
                status.stop()
