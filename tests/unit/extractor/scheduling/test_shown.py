"""What people see of schedules: in `qupersync status`, and in `qupersync check` where one cannot be kept."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qupersync_extractor.application.appointments import LastRun
from qupersync_extractor.application.control import PipelineControl
from qupersync_extractor.application.ports import OutboxDepth, Registration
from qupersync_extractor.domain.extraction import Extraction
from qupersync_extractor.domain.rereads import RereadCounts
from qupersync_extractor.infrastructure.postgres.overview import Overview
from qupersync_extractor.interface.schedules import check_schedules, schedule_rows, schedule_shown
from qupersync_extractor.settings import pipeline_of
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.ids import FencingToken, PipelineName
from qupersync_shared.runtime.plugins import Verdict
from qupersync_shared.runtime.settings import Configuration

ORDERS = PipelineName("orders")
NOW = datetime.now(UTC)


def configured(**options: Any) -> Configuration:
    pipeline = {"from": "billing.orders", "into": "public.orders", "key": ["id"], "cursor": "at", **options}
    return Configuration.model_validate({"pipelines": {"orders": pipeline}})


def seen(*, paused: bool = False, requested: bool = False, last: LastRun | None = None) -> Overview:
    control = PipelineControl(
        pipeline=ORDERS,
        paused=paused,
        reason=None,
        version=1,
        created_at=NOW,
        created_by="ann",
        updated_at=NOW,
        updated_by="ann",
    )
    registration = Registration(
        pipeline=ORDERS,
        lanes=1,
        token=FencingToken(1),
        owner=None,
        trouble=None,
        state=Extraction(pipeline=ORDERS, lanes=1),
    )
    return Overview(
        registration=registration,
        depth=OutboxDepth(records=0, bytes=0, oldest=None),
        cursors={},
        withheld=0,
        rereads=RereadCounts(),
        control=control,
        last_scheduled=last,
        run_requested=requested,
    )


def test_the_next_run_is_shown_to_whoever_asks() -> None:
    ended = NOW - timedelta(minutes=5)
    shown = schedule_shown(
        configured(schedule={"every": "15m"}), ORDERS, seen(last=LastRun(covers=ended, ended_at=ended))
    )
    assert shown == {
        "text": "every 15m",
        "next_run_at": (ended + timedelta(minutes=15)).isoformat(),
        "paused": False,
        "requested": False,
    }


def test_a_paused_pipeline_has_no_next_run_and_keeps_what_was_asked_for() -> None:
    shown = schedule_shown(configured(schedule="continuous"), ORDERS, seen(paused=True, requested=True))
    assert shown == {"text": "continuous", "next_run_at": None, "paused": True, "requested": True}


def test_a_pipeline_that_never_ran_and_one_by_a_broken_schedule_have_none() -> None:
    assert schedule_shown(configured(schedule={"every": "15m"}), ORDERS, None)["next_run_at"] is None
    broken = configured(schedule={"cron": "every day"})
    assert schedule_shown(broken, ORDERS, seen(last=LastRun(covers=NOW, ended_at=NOW)))["next_run_at"] is None


@pytest.mark.parametrize("place", ["schedule", "verify"])
def test_check_names_a_schedule_that_nobody_can_keep(place: str) -> None:
    broken = configured(**{place: {"cron": "0 0 30 2 *"}})
    (row,) = schedule_rows(broken, [pipeline_of("orders", broken.pipelines["orders"])])
    assert (row.area, row.subject, row.verdict) == ("orders", place, Verdict.FAILED)
    assert "never comes" in row.message
    with pytest.raises(ConfigurationError, match=rf"pipelines\.orders\.{place}\.cron"):
        check_schedules(broken)
    whole = configured(schedule={"cron": "*/5 * * * *", "jitter": "1m"}, verify={"every": "24h"})
    assert schedule_rows(whole, [pipeline_of("orders", whole.pipelines["orders"])]) == []
    check_schedules(whole)
