"""`qupersync verify`, and comparisons by schedule."""

import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Annotated, Final

import typer

from qupersync_extractor.application.verifying.narrowing import Narrowed
from qupersync_extractor.application.verifying.records import REQUEST
from qupersync_extractor.application.verifying.scheduled import ScheduledVerification
from qupersync_extractor.application.verifying.verify import Outcome, Verify, check_comparable
from qupersync_extractor.bootstrap import Stores, Workshop, comparison, instance_name
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.infrastructure.timetable import timetable
from qupersync_extractor.interface.operating import known, with_stores
from qupersync_extractor.interface.verification_words import document, lines
from qupersync_extractor.settings import pipeline_of
from qupersync_shared.contracts.subjects import check_name
from qupersync_shared.kernel.errors import ConfigurationError, TransientError
from qupersync_shared.kernel.ids import GroupName, uuid7
from qupersync_shared.runtime.cli.guard import EXIT_OK, EXIT_USAGE, EXIT_WRONG
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import GroupOption, JsonOption
from qupersync_shared.runtime.console import console, print_json, print_plain
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.logs import describe
from qupersync_shared.runtime.settings import Configuration, Schedule

_SHOWN_SECONDS: Final = 10.0


def add_command(app: typer.Typer) -> None:
    """Adds `verify`."""
    app.command("verify")(_verify)


def _verify(
    context: typer.Context,
    pipeline: Annotated[str, typer.Argument(help="The pipeline.")],
    group: GroupOption = None,
    repair: Annotated[bool, typer.Option("--repair", help="Have keys that differ read again, and look again.")] = False,
    wait: Annotated[
        float | None,
        typer.Option("--wait", min=0, max=86_400, help="How long to wait for the pipeline, in seconds [its lookback]."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a source with its target by checksums of key ranges, and name the keys that differ.

    Exit code 0: equal; 1: something differs; 2: bad usage, or source, loaders or databases cannot be reached.
    """
    settings = configuration(context)
    name = known(settings, pipeline)
    chosen = _group(group or settings.loader.group)
    definition = pipeline_of(name, settings.pipelines[name])
    check_comparable(definition)
    began = time.monotonic()
    try:
        outcome = with_stores(
            settings, lambda kept: _compared(settings, definition, chosen, kept, repair=repair, seconds=wait)
        )
    except TransientError as error:
        sys.stderr.write(f"error: {describe(error)}\n")
        raise typer.Exit(EXIT_USAGE) from error
    seconds = time.monotonic() - began
    if as_json:
        print_json(document(name, chosen, outcome, seconds=seconds))
    else:
        for line in lines(name, chosen, outcome, seconds=seconds):
            print_plain(console(), line)
    raise typer.Exit(EXIT_OK if outcome.equal else EXIT_WRONG)


async def _compared(
    settings: Configuration,
    pipeline: Pipeline,
    group: GroupName,
    kept: Stores,
    *,
    repair: bool,
    seconds: float | None,
) -> Outcome:
    if await kept.registry.get(pipeline.name) is None:
        raise TransientError(f"{pipeline.name} has never run", cure="Start `qupersync-extractor run`")
    if settings.nats is None:
        raise ConfigurationError("nats is missing", place="nats", cure="Write `nats: {servers: [nats://host:4222]}`")
    connection = Connection(settings.nats, name=f"qupersync-verify-{instance_name()}")
    try:
        async with comparison(settings, pipeline, group, kept, connection, seconds=seconds) as verify:
            verification = uuid7()
            await kept.verifications.begin(verification, pipeline.name, group, cause=REQUEST)
            return await replace(verify, told=_Progress())(verification, repair=repair)
    finally:
        await connection.close()


class _Progress:
    """Says on stderr how far a long comparison is, when people look."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def __call__(self, found: Narrowed) -> None:
        if sys.stderr.isatty() and time.monotonic() - self._told_at > _SHOWN_SECONDS:
            self._told_at = time.monotonic()
            sys.stderr.write(f"{found.source_rows} rows compared, {len(found.candidates)} keys may differ\n")


def scheduled_verification(shop: Workshop, pipeline: Pipeline, schedule: Schedule) -> ScheduledVerification:
    """The pipeline's comparisons with the configured loader group, by this schedule."""
    group = _group(shop.configuration.loader.group)
    return ScheduledVerification(
        pipeline=pipeline.name,
        group=group,
        timetable=timetable(schedule),
        verifications=shop.stores.verifications,
        registry=shop.stores.registry,
        clock=shop.clock,
        troubles=shop.troubles,
        opened=partial(_opened, shop, pipeline, group),
    )


@asynccontextmanager
async def _opened(shop: Workshop, pipeline: Pipeline, group: GroupName) -> AsyncIterator[Verify]:
    async with comparison(shop.configuration, pipeline, group, shop.stores, shop.connection) as verify:
        yield verify


def _group(name: str) -> GroupName:
    try:
        return GroupName(check_name(name))
    except ValueError as error:
        raise ConfigurationError(str(error), place="--group", cure="Choose such a name") from None
