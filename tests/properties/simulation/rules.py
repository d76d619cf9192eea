"""The rules that a schedule is played with: the project's pure functions, and the glue's own switches.

`Rules()` is the protocol as it is. A tooth is a `Rules` with one rule broken on purpose, for the simulation to notice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qupersync_extractor.domain import extraction, fence, logs, planning
from qupersync_loader.domain import judge as judging
from qupersync_loader.domain import watermark as marks


def _moment(tick: int) -> datetime:
    raise AssertionError(f"the options give the calendar, not this (tick {tick})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Every decision of the protocol, replaceable one by one."""

    # the project's pure functions
    plan: Callable[..., planning.Plan] = planning.plan
    plan_incremental: Callable[..., planning.IncrementalRun] = planning.plan_incremental
    begin_snapshot: Callable[..., extraction.Extraction] = extraction.begin_snapshot
    commit_page: Callable[..., extraction.Extraction] = extraction.commit_page
    is_as_left: Callable[..., bool] = extraction.is_as_left
    advance: Callable[..., extraction.Extraction] = extraction.advance
    wish_snapshot: Callable[..., extraction.Extraction] = extraction.wish_snapshot
    compare: Callable[..., logs.GreaterLog | None] = logs.compare
    reconcile: Callable[..., Any] = fence.reconcile
    judge: Callable[..., Any] = judging.judge
    next_watermark: Callable[..., Any] = marks.next_watermark

    # the glue around them, as the use cases and adapters have it
    moment: Callable[[int], datetime] = _moment
    fencing_token: bool = True
    page_in_one_transaction: bool = True
    failure_discards_what_was_read_after: bool = True
    nothing_is_read_ahead_of_an_incremental_run: bool = True
    horizon_is_taken_first: bool = True
    stream_fence: bool = True
    cursor_is_compared: bool = True
    ack_follows_commit: bool = True
    watermark_commits_with_rows: bool = True
    deletes_keep_to_the_range: bool = True
    slots_are_stored: bool = True
    log_is_left_by_all_lanes: bool = True
    resend_is_asked_for_once: bool = True
    lane_that_a_log_left_behind_asks: bool = True
    log_is_settled_before_each_plan: bool = True
