"""The schedules of a configuration: whether they can be kept, and what people see of them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.infrastructure.postgres.overview import Overview
from qupersync_extractor.infrastructure.scheduling.timetables import check_schedule, next_run, schedule_text
from qupersync_extractor.settings import pipeline_of
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.plugins import CheckRow
from qupersync_shared.runtime.preflight.rows import of_error
from qupersync_shared.runtime.settings import Configuration


def check_schedules(configuration: Configuration) -> None:
    """ConfigurationError for a schedule that nobody can keep, and for a comparison of what cannot be compared."""
    # `status` shows schedules, too, and compares nothing.
    from qupersync_extractor.application.verifying.verify import check_comparable

    for name, section in configuration.pipelines.items():
        if section.verify is not None:
            check_comparable(pipeline_of(name, section))
        for place, schedule in (("schedule", section.schedule), ("verify", section.verify)):
            if schedule is not None:
                check_schedule(schedule, place=f"pipelines.{name}.{place}", now=datetime.now(UTC))


def schedule_rows(configuration: Configuration, pipelines: Sequence[Pipeline]) -> list[CheckRow]:
    """A failed row for each schedule of these pipelines that nobody can keep."""
    rows = []
    for pipeline in pipelines:
        section = configuration.pipelines[pipeline.name]
        for subject, schedule in (("schedule", section.schedule), ("verify", section.verify)):
            try:
                if schedule is not None:
                    check_schedule(schedule, place=f"pipelines.{pipeline.name}.{subject}", now=datetime.now(UTC))
            except ConfigurationError as error:
                rows.append(of_error(pipeline.name, subject, error))
    return rows


def schedule_shown(configuration: Configuration, name: PipelineName, seen: Overview | None) -> dict[str, Any]:
    """When the pipeline runs. `next_run_at` is None while nobody makes runs of it, and lies in the past where one is
    overdue; `requested`: a run was asked for and has not been made, which a pause does not take back.
    """
    schedule = configuration.pipelines[name].schedule
    paused = seen is not None and seen.control is not None and seen.control.paused
    coming = None
    if seen is not None and not paused:
        try:
            coming = next_run(schedule, name, seen.last_scheduled, datetime.now(UTC))
        except ValueError:  # `check` says what is wrong with the expression
            coming = None
    return {
        "text": schedule_text(schedule),
        "next_run_at": None if coming is None else coming.isoformat(),
        "paused": paused,
        "requested": seen is not None and seen.run_requested,
    }
