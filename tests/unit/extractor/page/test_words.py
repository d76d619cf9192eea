"""Numbers, moments and reasons in words."""

from datetime import UTC, datetime, timedelta

import pytest

from qupersync_extractor.interface.page import words

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, words.NOTHING),
        (0.04, "0.0 s"),
        (0.96, "1 s"),
        (12.4, "12 s"),
        (119.0, "119 s"),
        (200, "3 min 20 s"),
        (180, "3 min"),
        (3599.6, "1 h"),
        (18_600, "5 h 10 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations(seconds: float | None, told: str) -> None:
    assert words.span(seconds) == told


def test_ages_are_in_seconds_whatever_their_size() -> None:
    assert [words.age(value) for value in (None, 0.44, 44.2, 1260)] == [words.NOTHING, "0.4 s", "44 s", "1,260 s"]


def test_moments_are_told_from_now() -> None:
    assert words.ago(NOW - timedelta(seconds=12), NOW) == "12 s ago"
    assert words.ago(NOW + timedelta(minutes=3), NOW) == "in 3 min"
    assert words.ago(None, NOW) == words.NOTHING
    assert words.clock(NOW, NOW) == "12:00:00 UTC"
    assert words.clock(NOW - timedelta(days=1), NOW) == "2026-02-28 12:00:00 UTC"


def test_moments_of_documents_are_read_and_others_are_none() -> None:
    assert words.read_moment("2026-03-01T12:00:00+00:00") == NOW
    assert words.read_moment("2026-03-01T12:00:00") == NOW
    assert words.read_moment("yesterday") is None
    assert words.read_moment(None) is None
    assert words.read_moment(7) is None


def test_cursor_values_fit_the_overview() -> None:
    assert words.short_moment("2026-03-01 10:00:00.093219", NOW) == "10:00:00"
    assert words.short_moment("2026-02-28 10:00:00.093219", NOW) == "2026-02-28 10:00:00"
    assert words.short_moment("4711", NOW) == "4711"
    assert len(words.short_moment("x" * 100, NOW)) == 24


def test_counts_rates_and_sizes_have_their_units() -> None:
    assert [words.rate(value) for value in (None, 0, 0.31, 12.2, 4310)] == [words.NOTHING, "0", "0.3", "12", "4,310"]
    assert [words.short(value) for value in (None, 950, 12_340, 4_500_000)] == [words.NOTHING, "950", "12.3 k", "4.5 M"]
    assert [words.counted(count, "row") for count in (0, 1, 1204)] == ["0 rows", "1 row", "1,204 rows"]
    assert words.share(1, 300) == "under 1 %"
    assert words.share(150, 300) == "50 %"
    assert words.share(1, 0) == words.NOTHING
    assert [words.seconds_exact(value) for value in (None, 0.0123, 1.239)] == [words.NOTHING, "12 ms", "1.24 s"]


def test_commands_in_reasons_are_code_and_all_else_is_escaped() -> None:
    assert words.told("a <b> `qupersync resume <x>` & more") == (
        "a &lt;b&gt; <code>qupersync resume &lt;x&gt;</code> &amp; more"
    )
    assert words.told(None) == ""
    assert words.told("one ` alone") == "one ` alone"


def test_what_is_due_is_never_in_the_past() -> None:
    assert words.due(NOW - timedelta(seconds=2), NOW) == "due now"
    assert words.due(NOW + timedelta(minutes=15), NOW) == "in 15 min"
    assert words.due(None, NOW) == words.NOTHING


def test_keys_are_their_values() -> None:
    assert words.key('{"v":1,"key":[["int","77"],["text","a b"]]}') == "77, a b"
    assert words.key('{"v":1,"key":[["int","7') == '{"v":1,"key":[["int","7'
