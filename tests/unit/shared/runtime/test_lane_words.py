"""Reasons of lanes are told once."""

import pytest

from qupersync_shared.runtime.lane_words import told_once


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ([], []),
        (["stream is missing"], ["stream is missing"]),
        (["lane 2: a gap"], ["lane 2: a gap"]),
        ([f"lane {lane}: no right" for lane in range(4)], ["lanes 0 to 3: no right"]),
        (["lane 0: x", "lane 2: x", "lane 3: x", "lane 7: x"], ["lanes 0, 2 to 3, 7: x"]),
        # A heartbeat has gathered what the lanes' own progress says again, with the lane before it once more.
        (
            ["target: away; lanes 0 to 1: x", "lane 0: lane 0: x", "lane 1: lane 1: x"],
            ["target: away", "lanes 0 to 1: x"],
        ),
        (["lane 1: x", "lane 1: y", "lane 0: x"], ["lanes 0 to 1: x", "lane 1: y"]),
        (["lane 1 waits for a snapshot: none is planned"], ["lane 1 waits for a snapshot: none is planned"]),
    ],
)
def test_reasons(reasons: list[str], told: list[str]) -> None:
    assert told_once(reasons) == told
