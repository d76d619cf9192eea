"""How far a rebuild is, and what is told where that cannot be known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qupersync_loader.application.rebuild.told import LaneMark, RebuildSeen, told
from qupersync_loader.application.shadows import Phase
from qupersync_shared.kernel.ids import uuid7

NOW = datetime(2024, 6, 1, tzinfo=UTC)


def seen(**changes: Any) -> RebuildSeen:
    plain = RebuildSeen(
        id=uuid7(),
        pipeline="people",
        table='public."shadow"',
        phase=Phase.READING,
        rows=7,
        detail="",
        who="host/1",
        began_at=NOW - timedelta(seconds=30),
        noted_at=NOW,
        now=NOW,
        running=True,
        live={lane: LaneMark(log=2, sequence=109) for lane in range(2)},
        shadow={0: LaneMark(log=2, sequence=104, snapshot_first=100)},
    )
    return replace(plain, **changes)


def test_a_lane_that_has_not_begun_begins_with_the_others() -> None:
    found = told(seen())

    assert (found.done, found.total) == (5, 20)
    assert found.eta_seconds == 90.0
    assert [(lane.first, lane.sequence) for lane in found.lanes] == [(100, 104), (100, None)]


def test_a_shadow_ahead_of_its_live_lane_has_read_no_more_than_there_is() -> None:
    ahead = {lane: LaneMark(log=2, sequence=112, snapshot_first=100) for lane in range(2)}
    found = told(seen(shadow=ahead))

    assert (found.done, found.total, found.eta_seconds) == (20, 20, 0.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"shadow": {}},
        {"shadow": {0: LaneMark(log=1, sequence=104, snapshot_first=100)}},
        {"ended_at": NOW, "phase": Phase.SWAPPED, "running": False},
    ],
)
def test_what_cannot_be_known_is_not_told(changes: dict[str, Any]) -> None:
    found = told(seen(**changes))

    assert (found.done, found.total, found.eta_seconds) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({}, None),
        ({"phase": Phase.KEPT, "running": False}, None),
        ({"running": False}, "its process (host/1) is gone"),
        ({"phase": Phase.DIFFERENT, "running": False, "detail": "lane 0 differs"}, "lane 0 differs"),
        ({"phase": Phase.DIFFERENT, "running": False}, "the tables differ"),
        ({"phase": Phase.MERGED, "running": False, "ended_at": NOW}, None),
    ],
)
def test_why_it_does_not_go_on(changes: dict[str, Any], trouble: str | None) -> None:
    found = told(seen(**changes)).trouble

    assert found is None if trouble is None else found is not None and found.startswith(trouble)
