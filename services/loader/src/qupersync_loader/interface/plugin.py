"""What the loader contributes to the `qupersync` command: commands, quarantine, checks, its part of the status.

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

_HERE: Final = "qupersync_loader.interface"

_DEAD_LETTERS: Final = Command(
    name="dead-letters",
    help="Events that could not be applied, and wait.",
    commands=(
        Command(
            name="list",
            help="List events that wait as dead letters.",
            body=f"{_HERE}.dead_letters_command:list_letters",
            examples=("qupersync dead-letters list -p cost_usage", "qupersync dead-letters list --all --json"),
        ),
        Command(
            name="show",
            help="Show one dead letter: its headers, why it was parked, and what its payload is now.",
            body=f"{_HERE}.dead_letters_command:show_letter",
            examples=("qupersync dead-letters show 3 --output letter.arrows",),
        ),
        Command(
            name="redrive",
            help="Have the source read again for what dead letters said.",
            body=f"{_HERE}.dead_letters_command:redrive_letters",
            examples=("qupersync dead-letters redrive 3 --wait 60", "qupersync dead-letters redrive -p cost_usage"),
        ),
        Command(
            name="discard",
            help="Give dead letters up: what they said is missing in the target until a snapshot says it again.",
            body=f"{_HERE}.dead_letters_command:discard_letters",
            examples=("qupersync dead-letters discard 3 4", "qupersync dead-letters discard -p cost_usage --yes"),
        ),
    ),
)

COMMANDS: Final = (
    _DEAD_LETTERS,
    Command(
        name="rebuild",
        help="Rebuild a target table from the stream, beside live loading, and swap it in; the source is not asked.",
        body=f"{_HERE}.rebuild_command:rebuild",
        examples=("qupersync rebuild cost_usage --dry-run", "qupersync rebuild cost_usage --json"),
    ),
    Command(
        name="replay",
        help="Replay a part of the stream, or all that stands in it, into a table of its own.",
        body=f"{_HERE}.replay_command:replay",
        examples=(
            "qupersync replay cost_usage --into scratch.cost_usage",
            "qupersync replay cost_usage --into scratch.yesterday --from-time 2026-01-30 --to-sequence 2/1700",
        ),
    ),
)


async def _checks(preflight: Preflight) -> list[CheckRow]:
    from qupersync_loader.interface.preflight import loader_checks

    return await loader_checks(preflight)


async def _status(configuration: Configuration) -> StatusPart:
    from qupersync_loader.interface.status import loader_status

    return await loader_status(configuration)


def _quarantine(configuration: Configuration, group: str | None) -> AbstractAsyncContextManager[QuarantineStore]:
    from qupersync_loader.interface.quarantine import target_quarantine

    return target_quarantine(configuration, group)


async def _sample(configuration: Configuration, pipeline: str, rows: int) -> Sample:
    from qupersync_loader.interface.sampling import take_sample

    return await take_sample(configuration, pipeline, rows)


plugin = Plugin(
    name="loader",
    commands=COMMANDS,
    checks=_checks,
    status=_status,
    quarantine=_quarantine,
    samples=Sampler(side="target", take=_sample),
)
