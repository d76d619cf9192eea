"""`qupersync check`: is everything there that a sync needs? Every answer with a cure."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from qupersync_shared.contracts.subjects import PROGRESS_BUCKET, stream_name
from qupersync_shared.kernel.errors import QupersyncError, StreamUnavailableError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.cli.probing import Probe, Probed, ask_all
from qupersync_shared.runtime.console import console, print_plain, print_table
from qupersync_shared.runtime.jetstream import connect, translated
from qupersync_shared.runtime.plugins import CheckRow, Plugins, Verdict
from qupersync_shared.runtime.settings import Configuration

SECONDS_MAX: Final = 60.0
_SERVER_MIN: Final = (2, 15)
_STYLES: Final = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "red", Verdict.UNKNOWN: "magenta"}


async def check(configuration: Configuration, plugins: Plugins, *, seconds_max: float = SECONDS_MAX) -> list[CheckRow]:
    """Every row, in the order: configuration, installed services, NATS, then the plugins' own."""
    asked = [("nats", check_nats), *((plugin.name, plugin.checks) for plugin in plugins.whole)]
    probes = [Probe(name=name, ask=partial(ask, configuration)) for name, ask in asked if ask is not None]
    rows = [_pipelines(configuration), *_installed(plugins)]
    for probed in await ask_all(probes, seconds_max=seconds_max):
        rows.extend(_rows(probed))
    return rows


def passed(rows: Sequence[CheckRow]) -> bool:
    """Whether nothing failed and nothing stayed unknown; warnings pass."""
    return all(row.verdict in {Verdict.OK, Verdict.WARNING} for row in rows)


def as_document(rows: Sequence[CheckRow]) -> dict[str, Any]:
    """The rows as `check --json` prints them."""
    return {
        "ok": passed(rows),
        "rows": [
            {
                "area": row.area,
                "subject": row.subject,
                "verdict": row.verdict.value,
                "message": row.message,
                "cure": row.cure or None,
            }
            for row in rows
        ],
    }


def show(rows: Sequence[CheckRow]) -> None:
    """The rows as a table, green and red, then one line that sums up."""
    out = console()
    print_table(
        out,
        ("verdict", "area", "subject", "message", "cure"),
        [(row.verdict.value, row.area, row.subject, row.message, row.cure) for row in rows],
        [_STYLES[row.verdict] for row in rows],
    )
    wrong = sum(row.verdict in {Verdict.FAILED, Verdict.UNKNOWN} for row in rows)
    if wrong:
        print_plain(out, f"{wrong} of {len(rows)} checks did not pass", "bold red")
    else:
        print_plain(out, f"all {len(rows)} checks passed", "bold green")


async def check_nats(configuration: Configuration) -> list[CheckRow]:
    """Is NATS there, with JetStream, and are the configured pipelines' streams and the bucket declared?"""
    section = configuration.nats
    if section is None:
        return [_row("section", Verdict.FAILED, "missing", "Write `nats: {servers: [nats://localhost:4222]}`")]
    try:
        client = await connect(section, name="qupersync-check", timeout=5, once=True)
    except StreamUnavailableError as error:
        return [_row("server", Verdict.FAILED, error.message, error.cure)]
    try:
        rows = [_server(client)]
        js = client.jetstream(timeout=5)
        with translated("ask for JetStream"):
            await js.account_info()
        rows.append(_row("JetStream", Verdict.OK, "enabled"))
        rows.extend([await _declared(js, name, stream_name(PipelineName(name))) for name in configuration.pipelines])
        rows.append(await _declared(js, "progress", f"KV_{PROGRESS_BUCKET}"))
    except QupersyncError as error:
        rows.append(_row("JetStream", Verdict.FAILED, error.message, error.cure))
    finally:
        await client.close()
    return rows


def _server(client: Client) -> CheckRow:
    version = client.connected_server_version
    said = f"nats-server {version.major}.{version.minor}.{version.patch} answers"
    if (version.major, version.minor) < _SERVER_MIN:
        return _row("server", Verdict.WARNING, said, "Renew it: progress needs 2.11, and 2.15 loses least in a crash")
    return _row("server", Verdict.OK, said)


async def _declared(js: JetStreamContext, subject: str, stream: str) -> CheckRow:
    with translated(f"look at stream {stream}"):
        try:
            await js.stream_info(stream)
        except nats.js.errors.NotFoundError:
            cure = "Run `qupersync-extractor migrate`"
            return _row(f"stream of {subject}", Verdict.FAILED, f"{stream} is not declared", cure)
    return _row(f"stream of {subject}", Verdict.OK, f"{stream} is declared")


def _row(subject: str, verdict: Verdict, message: str, cure: str = "") -> CheckRow:
    return CheckRow(area="nats", subject=subject, verdict=verdict, message=message, cure=cure)


def _pipelines(configuration: Configuration) -> CheckRow:
    count = len(configuration.pipelines)
    if count:
        return CheckRow(
            area="configuration", subject="pipelines", verdict=Verdict.OK, message=f"valid, with {count} of them"
        )
    return CheckRow(
        area="configuration",
        subject="pipelines",
        verdict=Verdict.WARNING,
        message="valid, and there are none",
        cure="`qupersync init` shows how to write one",
    )


def _installed(plugins: Plugins) -> list[CheckRow]:
    return [
        CheckRow(
            area="installation",
            subject=broken.name,
            verdict=Verdict.FAILED,
            message=f"its plugin cannot be loaded: {broken.reason}",
            cure="Install it again, in the same version as qupersync-shared",
        )
        for broken in plugins.broken
    ]


def _rows(probed: Probed[list[CheckRow]]) -> list[CheckRow]:
    if probed.answer is not None:
        return probed.answer
    return [
        CheckRow(
            area=probed.name,
            subject="probe",
            verdict=Verdict.UNKNOWN,
            message=probed.failure or "no answer",
            cure=probed.cure,
        )
    ]
