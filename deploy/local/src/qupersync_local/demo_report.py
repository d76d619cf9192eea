"""What the demo shows: progress while it runs, figures and the verdict at the end. Plain lines where nobody watches."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from qupersync_local.committed import Hop, Standing
from qupersync_local.compare import Comparison

_HOPS = {"source read": "extracted", "published": "published", "loaded": "loaded"}
_PLAIN_COLUMNS = 120


def console() -> Console:
    """The terminal, or plain text where output goes elsewhere; NO_COLOR is honoured."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=_PLAIN_COLUMNS, no_color=True)


@dataclass(slots=True)
class Meter:
    """Rows a second of one hop, between the first and the last time its count was seen to grow."""

    first: tuple[float, int] | None = None
    last: tuple[float, int] = (0.0, 0)

    def see(self, rows: int) -> None:
        if rows <= self.last[1]:
            return
        now = time.monotonic()
        self.first = self.first or (now, rows)
        self.last = (now, rows)

    @property
    def rows_per_second(self) -> float | None:
        """None where everything came at once."""
        if self.first is None or self.last[0] <= self.first[0]:
            return None
        return (self.last[1] - self.first[1]) / (self.last[0] - self.first[0])


@dataclass(slots=True)
class Meters:
    """Every hop of every pipeline during the first snapshot."""

    of: dict[tuple[str, str], Meter] = field(default_factory=dict)

    def see(self, standing: Mapping[str, Standing]) -> None:
        for name, one in standing.items():
            for hop in _HOPS.values():
                self.of.setdefault((name, hop), Meter()).see(rows_at(one, hop).rows)


def rows_at(standing: Standing, hop: str) -> Hop:
    """The hop by its name."""
    return {"extracted": standing.extracted, "published": standing.published, "loaded": standing.loaded}[hop]


@contextmanager
def progress(screen: Console, *, total: int) -> Iterator["Bars"]:
    """Three bars, one a hop, for as long as the block runs; nothing where output is not a terminal."""
    shown = Progress(
        TextColumn("  {task.description:12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
        console=screen,
        disable=not screen.is_terminal,
        transient=True,
    )
    with shown:
        yield Bars(shown, {hop: shown.add_task(title, total=total) for title, hop in _HOPS.items()})


@dataclass(frozen=True, slots=True)
class Bars:
    """The bars on the screen."""

    shown: Progress
    tasks: Mapping[str, TaskID]

    def see(self, standing: Mapping[str, Standing]) -> None:
        for hop, task in self.tasks.items():
            self.shown.update(task, completed=sum(rows_at(one, hop).rows for one in standing.values()))


def figures(standing: Mapping[str, Standing], meters: Meters, lags: Mapping[str, float | None]) -> Table:
    """The closing table: what each pipeline moved, how fast during the first snapshot, and how far it was behind."""
    table = Table(title="per pipeline (rates of the first snapshot)", title_justify="left")
    table.add_column("pipeline")
    for title in ("rows moved", "events", "read+outbox, rows/s", "relay, rows/s", "load, rows/s", "lag while live, s"):
        table.add_column(title, justify="right")
    for name, one in standing.items():
        rates = [_rate(meters.of.get((name, hop))) for hop in _HOPS.values()]
        lag = lags.get(name)
        table.add_row(
            name, f"{one.loaded.rows:,}", f"{one.loaded.events:,}", *rates, "-" if lag is None else f"{lag:.1f}"
        )
    return table


def _rate(meter: Meter | None) -> str:
    rate = meter.rows_per_second if meter is not None else None
    return "-" if rate is None else f"{rate:,.0f}"


def verdict(compared: Mapping[str, Comparison]) -> list[str]:
    """The last lines: that both sides are equal, or which keys differ."""
    if all(one.same for one in compared.values()):
        return [f"source and target are equal: {sum(one.equal for one in compared.values())} rows"]
    lines = []
    for name, one in compared.items():
        lines += [f"{name}: {difference}" for difference in one.differences]
        if one.cut:
            lines.append(f"{name}: there may be more; only the first {len(one.differences)} are shown")
    return [*lines, "source and target differ"]
