"""`qupersync status`: asks everything at once, each for at most three seconds, and says what is wrong."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from rich.console import Console

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.cli.document import assemble, nats_part
from qupersync_shared.runtime.cli.nats_status import read_nats
from qupersync_shared.runtime.cli.probing import Probe, ask_all, run
from qupersync_shared.runtime.console import bytes_shown, console, print_json, print_plain, print_table, seconds_shown
from qupersync_shared.runtime.logs import mask
from qupersync_shared.runtime.plugins import Plugins, StatusPart
from qupersync_shared.runtime.settings import Configuration

SECONDS_MAX: Final = 3.0
_WATCH_SECONDS: Final = 2.0
_COLUMNS: Final = (
    *("pipeline", "state", "freshness", "source", "outbox", "stream", "lanes"),
    *("size", "replayable since"),
)
_SUMMARISED: Final = ("source_budget", "maintenance")
_WIDE: Final = 120  # columns of a terminal on which the stream's cells have room, too
_STYLES: Final = {"live": "green", "stalled": "red", "degraded": "red", "unknown": "magenta"}


async def status(configuration: Configuration, plugins: Plugins, *, seconds_max: float = SECONDS_MAX) -> dict[str, Any]:
    """The status document, within little more than `seconds_max` whoever answers or does not."""
    pipelines = list(configuration.pipelines)

    async def ask_nats(configuration: Configuration) -> StatusPart:
        section = configuration.nats
        if section is None:
            return StatusPart(reasons=["nats is missing in the configuration"])
        await asyncio.sleep(0)  # the services import what they need first: NATS is not to blame for the time it takes
        return nats_part(pipelines, await read_nats(section, configuration))

    asked = [("nats", ask_nats), *((plugin.name, plugin.status) for plugin in plugins.whole)]
    probes = [Probe(name=name, ask=partial(ask, configuration)) for name, ask in asked if ask is not None]
    broken = [f"{plugin.name}: its plugin cannot be loaded ({plugin.reason})" for plugin in plugins.broken]
    return await gathered(pipelines, probes, failures=broken, seconds_max=seconds_max)


async def gathered(
    pipelines: Sequence[str],
    probes: Sequence[Probe[StatusPart]],
    *,
    failures: Sequence[str] = (),
    seconds_max: float = SECONDS_MAX,
) -> dict[str, Any]:
    """The status document from what these probes answer, besides what has failed already."""
    results = await ask_all(probes, seconds_max=seconds_max)
    return assemble(
        pipelines=pipelines,
        parts=[result.answer for result in results if result.answer is not None],
        failures=[*failures, *(result.failure for result in results if result.failure is not None)],
        probes={
            result.name: {
                "verdict": "ok" if result.failure is None else "unknown",
                "seconds": result.seconds,
                "message": result.failure,
            }
            for result in results
        },
        now=datetime.now(UTC),
    )


def watch(configuration: Configuration, plugins: Plugins, *, as_json: bool) -> None:
    """Shows the status again and again until interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            began = time.monotonic()
            document = run(status(configuration, plugins))
            if as_json:
                print_json(document)
            else:
                out = console()
                if out.is_terminal:
                    out.clear()
                show(document, out)
            time.sleep(max(0.0, _WATCH_SECONDS - (time.monotonic() - began)))


def misconfigured(error: ConfigurationError) -> dict[str, Any]:
    """The document where not even the configuration can be read."""
    return assemble(
        pipelines=(), parts=(), failures=[f"configuration: {mask(str(error))}"], probes={}, now=datetime.now(UTC)
    )


def show(document: dict[str, Any], out: Console | None = None) -> None:
    """The document for people: verdict first."""
    out = out or console()
    if document["reason"] is None:
        print_plain(out, f"all is well, as of {document['as_of']}", "bold green")
    else:
        print_plain(out, f"something is wrong, as of {document['as_of']}", "bold red")
        for reason in document["reasons"]:
            print_plain(out, f"  {reason}", "red")
    entries: dict[str, Any] = document["pipelines"]
    if entries:
        shown = len(_COLUMNS) if not out.is_terminal or out.width >= _WIDE else _COLUMNS.index("size")
        print_table(
            out,
            _COLUMNS[:shown],
            [_pipeline_row(name, entry)[:shown] for name, entry in entries.items()],
            [_STYLES.get(entry["state"], "yellow") for entry in entries.values()],
        )
    for name, entry in entries.items():
        for notice in entry.get("notices") or []:
            print_plain(out, f"note: {name}: {notice}", "yellow")
    for section in filter(None, map(document.get, _SUMMARISED)):
        print_plain(out, section["summary"])
    if document["processes"]:
        print_table(
            out,
            ("process", "instance", "group", "version", "heartbeat"),
            [_process_row(process) for process in document["processes"]],
            ["" if process.get("alive", True) else "dim" for process in document["processes"]],
        )


def _pipeline_row(name: str, entry: dict[str, Any]) -> tuple[str, ...]:
    lag = entry["lag"]

    def events(value: int | None) -> str:
        return "-" if value is None else f"{value} waiting"

    return (
        name,
        entry["state"],
        seconds_shown(lag["freshness_seconds"]),
        seconds_shown(lag["source_seconds"]),
        events(lag["outbox_records"]),
        events(lag["stream_events"]),
        str(len(entry["lanes"])),
        *_stream_cells(entry.get("stream")),
    )


def _stream_cells(stream: dict[str, Any] | None) -> tuple[str, str]:
    if stream is None:
        return "-", "-"
    limit = stream["bytes_max"]
    size = bytes_shown(stream["bytes"]) + (f" of {bytes_shown(limit)}" if limit > 0 else "")
    return size, stream["replayable_since"] or "not rebuildable"


def _process_row(process: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(process.get("role", "")),
        str(process.get("instance", "")),
        str(process.get("group") or "-"),
        str(process.get("version", "")),
        f"{seconds_shown(process.get('age_seconds'))} ago",
    )
