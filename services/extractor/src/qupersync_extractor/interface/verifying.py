"""Comparisons of a source with its target: now, and by schedule."""

import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from qupersync_extractor.application.troubles import Troubles
from qupersync_extractor.application.verifying.narrowing import Narrowed
from qupersync_extractor.application.verifying.records import REQUEST
from qupersync_extractor.application.verifying.scheduled import ScheduledVerification
from qupersync_extractor.application.verifying.verify import Outcome, Verify, check_comparable
from qupersync_extractor.bootstrap import Workshop, comparison, source_guard
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.infrastructure.scheduling.timetables import timetable
from qupersync_extractor.interface.operating import known, with_stores
from qupersync_extractor.interface.verification_words import document, lines
from qupersync_extractor.settings import extractor_settings, pipeline_of
from qupersync_extractor.stores import Stores
from qupersync_shared.contracts.subjects import check_name
from qupersync_shared.kernel.errors import ConfigurationError, TransientError
from qupersync_shared.kernel.ids import GroupName, uuid7
from qupersync_shared.runtime.cli.guard import EXIT_OK, EXIT_USAGE, EXIT_WRONG
from qupersync_shared.runtime.console import console, print_json, print_plain
from qupersync_shared.runtime.instance import instance_name
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.logs import describe
from qupersync_shared.runtime.settings import Configuration, Schedule

_SHOWN_SECONDS: Final = 10.0
_WAIT_TOLD_SECONDS: Final = 60.0


def verify(
    settings: Configuration, pipeline: str, *, group: str | None, repair: bool, wait: float | None, as_json: bool
) -> int:
    """Compares now, and prints what was found; the exit code of `qupersync verify`."""
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
        return EXIT_USAGE
    seconds = time.monotonic() - began
    if as_json:
        print_json(document(name, chosen, outcome, seconds=seconds))
    else:
        for line in lines(name, chosen, outcome, seconds=seconds):
            print_plain(console(), line)
    return EXIT_OK if outcome.equal else EXIT_WRONG


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
    instance = f"verify-{instance_name()}"
    connection = Connection(settings.nats, name=f"qupersync-{instance}")
    guard = source_guard(settings, kept, extractor_settings(settings), owner=instance, troubles=Troubles())
    try:
        async with comparison(
            settings, pipeline, group, kept, connection, guard=guard, seconds=seconds, tell=_Waits()
        ) as verify:
            verification = uuid7()
            await kept.verifications.begin(verification, pipeline.name, group, cause=REQUEST)
            return await replace(verify, told=_Progress())(verification, repair=repair)
    finally:
        if guard is not None:
            await guard.close()
        await connection.close()


class _Waits:
    """Says on stderr what keeps a comparison from the source, when that is news."""

    def __init__(self) -> None:
        self._told_at = float("-inf")

    def __call__(self, reason: str | None, _seconds: float | None) -> None:
        if reason is not None and time.monotonic() - self._told_at > _WAIT_TOLD_SECONDS:
            self._told_at = time.monotonic()
            sys.stderr.write(f"waiting: {reason}\n")


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
    async with comparison(
        shop.configuration, pipeline, group, shop.stores, shop.connection, guard=shop.guard
    ) as verify:
        yield verify


def _group(name: str) -> GroupName:
    try:
        return GroupName(check_name(name))
    except ValueError as error:
        raise ConfigurationError(str(error), place="--group", cure="Choose such a name") from None
