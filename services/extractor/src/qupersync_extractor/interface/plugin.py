"""What the extractor contributes to `qupersync`: commands, checks, its part of the status, withheld rows, samples.

Loaded by every call of the command: what stands behind it is imported when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qupersync_shared.runtime.plugins import CheckRow, Command, Plugin, StatusPart
from qupersync_shared.runtime.sampling import Sample, Sampler

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from qupersync_shared.runtime.preflight import Preflight
    from qupersync_shared.runtime.quarantine import QuarantineStore
    from qupersync_shared.runtime.settings import Configuration

_HERE: Final = "qupersync_extractor.interface"

COMMANDS: Final = (
    Command(
        name="history",
        help="List runs, the latest first.",
        body=f"{_HERE}.history_command:history",
        examples=(
            "qupersync history cost_usage --status failed --since 2d",
            "qupersync history --actions --limit 50",
            "qupersync history --purge-older-than 30d --yes",
        ),
    ),
    Command(
        name="ledger",
        help="Say where the pages of pipelines are: in sync, or what waits, at which hop and since when.",
        body=f"{_HERE}.ledger_command:ledger",
        examples=("qupersync ledger", "qupersync ledger cost_usage --state extracted --since 1h --json"),
    ),
    Command(
        name="verify",
        help="Compare a source with its target by checksums of key ranges, and name the keys that differ.",
        body=f"{_HERE}.verify_command:verify",
        examples=("qupersync verify cost_usage", "qupersync verify cost_usage --repair --json"),
    ),
    Command(
        name="trigger",
        help="Ask the running extractors to run a pipeline now.",
        body=f"{_HERE}.deciding:trigger",
        examples=("qupersync trigger cost_usage", "qupersync trigger cost_usage --mode snapshot", "qupersync trigger"),
    ),
    Command(
        name="pause",
        help="Extract nothing new until `resume`.",
        body=f"{_HERE}.deciding:pause",
        examples=("qupersync pause cost_usage --reason 'the cluster is resized'",),
    ),
    Command(
        name="resume",
        help="Let a paused pipeline go on where it was.",
        body=f"{_HERE}.deciding:resume",
        examples=("qupersync resume cost_usage", "qupersync resume cost_usage --as ann --json"),
    ),
    Command(
        name="reset",
        help="Begin a new log with the configured number of lanes, and a snapshot.",
        body=f"{_HERE}.deciding:reset",
        examples=("qupersync reset cost_usage", "qupersync reset cost_usage --yes --reason 'eight lanes'"),
    ),
    Command(
        name="retire",
        help="Give up what the outbox still has to publish of a removed pipeline.",
        body=f"{_HERE}.deciding:retire",
        examples=("qupersync retire old_orders", "qupersync retire old_orders --yes"),
    ),
)


async def _checks(preflight: Preflight) -> list[CheckRow]:
    from qupersync_extractor.interface.preflight import extractor_checks

    return await extractor_checks(preflight)


async def _status(configuration: Configuration) -> StatusPart:
    from qupersync_extractor.interface.status import extractor_status

    return await extractor_status(configuration)


def _quarantine(configuration: Configuration, group: str | None) -> AbstractAsyncContextManager[QuarantineStore]:
    from qupersync_extractor.interface.quarantine import open_quarantine

    return open_quarantine(configuration, group)


async def _sample(configuration: Configuration, pipeline: str, rows: int) -> Sample:
    from qupersync_extractor.interface.sampling import take_sample

    return await take_sample(configuration, pipeline, rows)


plugin = Plugin(
    name="extractor",
    commands=COMMANDS,
    checks=_checks,
    tells_schemas=True,
    status=_status,
    quarantine=_quarantine,
    samples=Sampler(side="source", take=_sample),
)
