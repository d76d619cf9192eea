"""Output for people: colours and tables on a terminal, plain aligned text when piped. NO_COLOR is honoured by rich."""

import json
import sys
from collections.abc import Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_PIPED_WIDTH: Final = 10_000


def console(*, stderr: bool = False) -> Console:
    """A console for stdout or stderr as they are now; piped output is never wrapped or coloured."""
    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    return Console(file=stream, highlight=False, width=None if terminal else _PIPED_WIDTH, soft_wrap=not terminal)


def print_table(
    out: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()
) -> None:
    """A table; `styles` colours rows on a terminal."""
    if out.is_terminal:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for number, row in enumerate(rows):
            table.add_row(*(escape(cell) for cell in row), style=styles[number] if styles else None)
        out.print(table)
        return
    lines = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        padded = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print_plain(out, padded.rstrip())


def print_plain(out: Console, text: str, style: str = "") -> None:
    """One line as it is: brackets and colons in it mean nothing."""
    out.print(Text(text, style=style), soft_wrap=True)


def print_json(document: Any) -> None:
    """One JSON document on stdout: indented on a terminal, one line when piped."""
    indent = 2 if sys.stdout.isatty() else None
    sys.stdout.write(json.dumps(document, indent=indent, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def seconds_shown(value: float | None) -> str:
    """A duration for people: 850 ms, 12 s, 3 min, 5 h, 2 d; a dash for None."""
    if value is None:
        return "-"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if value >= 2 * size:
            return f"{value / size:.0f} {unit}"
    return f"{value:.0f} s" if value >= 1 else f"{value * 1000:.0f} ms"
