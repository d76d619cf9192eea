"""Output for people: colours and tables on a terminal, plain aligned text when piped. NO_COLOR is honoured by rich."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_PIPED_WIDTH: Final = 10_000
_SHORT: Final = 24  # characters of a column whose cells are never broken in two


class _Console(Console):
    """Rich ends the process with an error when the reader of its output has gone: nothing is wrong with that."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """A console for stdout or stderr as they are now; piped output is never wrapped or coloured."""
    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    return _Console(file=stream, highlight=False, width=None if terminal else _PIPED_WIDTH, soft_wrap=not terminal)


def print_table(
    out: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()
) -> None:
    """A table; `styles` colours rows on a terminal. Where that is too narrow, plain lines, which it wraps."""
    lines = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    if out.is_terminal:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column, width in zip(columns, widths, strict=True):
            table.add_column(column, overflow="fold", no_wrap=width <= _SHORT)
        for number, row in enumerate(rows):
            table.add_row(*(escape(cell) for cell in row), style=styles[number] if styles else None)
        if Measurement.get(out, out.options.update(max_width=_PIPED_WIDTH), table).minimum <= out.width:
            out.print(table)
            return
    for number, line in enumerate(lines):
        padded = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        style = styles[number - 1] if styles and number else "" if number else "bold"
        print_plain(out, padded.rstrip(), style)


def print_fields(out: Console, fields: Mapping[str, Any]) -> None:
    """Names and values below each other; mappings are indented, and what is not there has a dash."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        label = name.replace("_", " ").ljust(width)
        if isinstance(value, Mapping):
            print_plain(out, label.rstrip())
            inner = max((len(str(key)) for key in value), default=0)
            for key, each in value.items():
                print_plain(out, f"  {str(key).ljust(inner)}  {_field(each)}")
        else:
            print_plain(out, f"{label}  {_field(value)}")


def _field(value: Any) -> str:
    """In one line; control characters, which a terminal would obey, are escaped."""
    text = "-" if value is None else value.isoformat() if isinstance(value, datetime) else str(value)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def print_plain(out: Console, text: str, style: str = "") -> None:
    """One line as it is: brackets and colons in it mean nothing."""
    out.print(Text(text, style=style), soft_wrap=True)


def print_json(document: Any) -> None:
    """One JSON document on stdout: indented on a terminal, one line when piped."""
    indent = 2 if sys.stdout.isatty() else None
    sys.stdout.write(json.dumps(document, indent=indent, ensure_ascii=False, default=_as_json) + "\n")
    sys.stdout.flush()


def print_json_line(document: Any) -> None:
    """One JSON document in one line on stdout, for whoever reads line by line."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, default=_as_json) + "\n")
    sys.stdout.flush()


def _as_json(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def seconds_shown(value: float | None) -> str:
    """A duration for people: 850 ms, 12 s, 3 min, 5 h, 2 d; a dash for None."""
    if value is None:
        return "-"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if value >= 2 * size:
            return f"{value / size:.0f} {unit}"
    return f"{value:.0f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def bytes_shown(count: int) -> str:
    """A size for people: 900 B, 12 KiB, 3 MiB, 1.5 GiB."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << shift:
            value = count / (1 << shift)
            return f"{value:.1f} {unit}" if value < 10 and value != round(value) else f"{value:.0f} {unit}"  # noqa: PLR2004
    return f"{count} B"
