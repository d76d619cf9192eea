"""Where a pipeline's pages are, in one sentence."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qupersync_extractor.domain.whereabouts import Hop, Reached, Standing, whereabouts
from qupersync_shared.kernel.ids import GroupName, Log, PipelineName, Sequence

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
MAIN, REPORTS = GroupName("main"), GroupName("reports")


def at(sequence: int, log: int = 2) -> Reached:
    return Reached(log=Log(log), sequence=Sequence(sequence), at=NOW)


def standing(extracted: int, published: int, groups: dict[GroupName, Reached], **more: Any) -> Standing:
    return Standing(
        pipeline=PipelineName("orders"),
        as_of=NOW,
        extracted=at(extracted),
        published=at(published),
        groups=groups,
        **more,
    )


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            standing(1234, 1234, {REPORTS: at(1234), MAIN: at(1234)}),
            "in sync: all 1,234 pages of log 2 are applied by main and reports",
        ),
        (standing(1, 1, {MAIN: at(1)}), "in sync: the only page of log 2 is applied by main"),
        (standing(0, 0, {MAIN: at(90, log=1)}), "log 2 has no page yet"),
        (standing(3, 3, {}), "3 pages of log 2: no loader group has applied anything yet"),
        (
            standing(20, 20, {MAIN: at(8), REPORTS: at(20)}, next_at=NOW - timedelta(seconds=34)),
            "12 pages wait to be loaded by main, the oldest for 34 s",
        ),
        (
            standing(20, 15, {MAIN: at(8), REPORTS: at(9)}, next_at=NOW - timedelta(hours=3)),
            "12 pages wait to be loaded by main (5 of them to be published first), the oldest for 3 h",
        ),
        (standing(20, 20, {MAIN: at(99, log=1)}), "20 pages wait to be loaded by main"),
        (
            standing(20, 19, {MAIN: at(19)}, next_at=NOW - timedelta(minutes=5)),
            "1 page waits to be published, the oldest for 5 min",
        ),
        (
            standing(20, 20, {MAIN: at(21)}),
            (
                "main applied pages beyond page 20 of log 2, which this database knows nothing of: the next run opens "
                "a greater log"
            ),
        ),
        (
            standing(2, 2, {MAIN: at(2)}, paused=True, trouble="down"),
            "all 2 pages of log 2 are applied by main; the pipeline is paused",
        ),
        (
            standing(2, 2, {MAIN: at(2)}, snapshotting=True),
            "all 2 pages of log 2 are applied by main; a snapshot is under way",
        ),
        (
            standing(2, 2, {MAIN: at(2)}, trouble="source: it is down"),
            "all 2 pages of log 2 are applied by main; nothing more is extracted: source: it is down",
        ),
    ],
)
def test_one_sentence_says_where_it_is(found: Standing, sentence: str) -> None:
    told = whereabouts(found)
    assert told.sentence == sentence
    assert told.in_sync == sentence.startswith("in sync")


def test_the_oldest_page_waits_at_one_hop_for_those_that_lack_it() -> None:
    told = whereabouts(standing(20, 12, {MAIN: at(10), REPORTS: at(11)}, next_at=NOW))
    assert told.waiting is not None
    assert (told.waiting.sequence, told.waiting.hop, told.waiting.groups) == (11, Hop.APPLIED, (MAIN,))
    assert told.pages_waiting == 10


def test_what_the_relay_was_sent_back_for_waits_to_be_published_again() -> None:
    told = whereabouts(standing(20, 12, {MAIN: at(14), REPORTS: at(13)}))
    assert told.waiting is not None
    assert (told.waiting.sequence, told.waiting.hop, told.waiting.groups) == (14, Hop.PUBLISHED, (REPORTS,))
    assert told.waiting.since is None
    assert told.sentence == "7 pages wait to be published"
