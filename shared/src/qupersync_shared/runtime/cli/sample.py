"""`qupersync sample`: a few rows of a pipeline for people, the same ones while the data are the same."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.cli.invocation import configuration, invocation
from qupersync_shared.runtime.cli.narrowing import narrowed
from qupersync_shared.runtime.cli.options import ConfigOption, JsonOption, PipelineArgument
from qupersync_shared.runtime.cli.probing import run
from qupersync_shared.runtime.console import console, print_json, print_plain, print_table
from qupersync_shared.runtime.plugins import Plugins
from qupersync_shared.runtime.sampling import SAMPLE_ROWS_MAX, Sample, Sampler

_ROWS: Final = 10
_CELL_MAX: Final = 60
_SIDES: Final = ("target", "source")  # the first that is installed, unless one is named


def sample(
    context: typer.Context,
    pipeline: PipelineArgument,
    rows: Annotated[int, typer.Option("--rows", "-n", help=f"How many, at most {SAMPLE_ROWS_MAX}.")] = _ROWS,
    side: Annotated[
        str | None, typer.Option("--from", help="source or target; else the target, where the loader is installed.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show some rows of a pipeline, spread over the table: the same ones each time while nothing changes."""
    check_rows(rows)
    found = narrowed(configuration(context, config), [pipeline])
    sampler = chosen(invocation(context).plugins, side)
    taken = run(sampler.take(found, pipeline, rows))
    if as_json:
        print_json(as_document(pipeline, sampler.side, taken))
    else:
        show(sampler.side, taken)


def check_rows(rows: int) -> None:
    """ConfigurationError (exit code 2) naming the limit."""
    if not 1 <= rows <= SAMPLE_ROWS_MAX:
        raise ConfigurationError(
            f"{rows} rows were asked for, and a sample has 1 to {SAMPLE_ROWS_MAX}",
            place="--rows",
            cure="Ask for fewer; to read all rows, query the target table",
        )


def chosen(plugins: Plugins, side: str | None) -> Sampler:
    """The sampler of a side; ConfigurationError where no installed service has it."""
    samplers = {plugin.samples.side: plugin.samples for plugin in plugins.whole if plugin.samples is not None}
    if side is not None and side not in _SIDES:
        raise ConfigurationError(f"{side!r} is no side", place="--from", cure="Write source or target")
    for wanted in (side,) if side else _SIDES:
        if wanted in samplers:
            return samplers[wanted]
    service = {"source": "qupersync-extractor", "target": "qupersync-loader"}.get(side or "", "a service of qupersync")
    raise ConfigurationError(
        f"nothing that is installed can read the {side or 'source or target'}",
        place="--from",
        cure=f"Install {service}, or name the other side",
    )


def as_document(pipeline: str, side: str, sample: Sample) -> dict[str, Any]:
    """The sample as `sample --json` prints it, values whole."""
    return {
        "pipeline": pipeline,
        "from": side,
        "relation": sample.relation,
        "key": list(sample.key),
        "columns": [{"name": name, "type": kind} for name, kind in sample.columns],
        "derived": list(sample.derived),
        "rows": [dict(row) for row in sample.rows],
    }


def show(side: str, sample: Sample) -> None:
    """The rows as a table; long values are cut, and said to be."""
    out = console()
    if sample.rows:
        names = [name for name, _ in sample.columns]
        shown = [*names, *(f"{name}*" for name in sample.derived)]
        fields = [*names, *sample.derived]
        print_table(out, shown, [[cell(row.get(name)) for name in fields] for row in sample.rows])
    else:
        print_plain(out, "no rows")
    derived = "; * is computed, not stored" if sample.derived else ""
    print_plain(out, f"{len(sample.rows)} rows of {sample.relation} ({side}){derived}")


def cell(value: Any) -> str:
    """A value in one line of the table."""
    if value is None:
        return "NULL"
    text = str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else _plain(value)
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[: _CELL_MAX + 1])
    return text if len(text) <= _CELL_MAX else text[: _CELL_MAX - 1] + "…"


def _plain(value: Any) -> str:
    return str(dict(value)) if isinstance(value, Mapping) else str(value)
