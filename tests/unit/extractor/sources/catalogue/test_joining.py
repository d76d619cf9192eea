"""Joins of what several views say, against the plainest way to say the same."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from qupersync_extractor.infrastructure.sources.catalogue.joining import distinct, latest_at, looked_up

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).replace(tzinfo=None)
SESSIONS = st.integers(0, 3)
MOMENTS = st.integers(0, 6).map(lambda minutes: NOON + timedelta(minutes=minutes))
LOG = st.lists(st.tuples(SESSIONS, MOMENTS, st.sampled_from([None, "a", "b"])), max_size=30)
ASKED = st.lists(st.tuples(SESSIONS | st.none(), MOMENTS | st.none()), max_size=30)


def column(values: list[object], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind)


@given(LOG, ASKED)
def test_the_latest_row_at_each_moment(
    log: list[tuple[int, datetime, str | None]], asked: list[tuple[int | None, datetime | None]]
) -> None:
    # Of two names said at one moment neither is the latest: make each moment of a session say one.
    log = list({(session, moment, name is None): (session, moment, name) for session, moment, name in log}.values())
    found = pa.table(
        {
            "session": column([row[0] for row in log], pa.int32()),
            "at": column([row[1] for row in log], pa.timestamp("us")),
            "name": column([row[2] for row in log], pa.string()),
        }
    )
    names = latest_at(
        column([row[0] for row in asked], pa.int32()),
        column([row[1] for row in asked], pa.timestamp("us")),
        found,
        key="session",
        moment="at",
        column="name",
    )
    expected = []
    for session, moment in asked:
        before = [
            (at, name is not None, name)
            for other, at, name in log
            if moment is not None and other == session and at <= moment
        ]
        expected.append(max(before, key=lambda row: row[:2])[2] if before else None)
    assert names.to_pylist() == expected


@given(st.dictionaries(st.integers(-5, 5), st.text(max_size=2)), st.lists(st.integers(-6, 6) | st.none(), max_size=20))
def test_values_by_key(found: dict[int, str], asked: list[int | None]) -> None:
    table = pa.table({"key": pa.array(found.keys(), pa.int64()), "value": pa.array(found.values(), pa.string())})
    values = looked_up(pa.array(asked, pa.int64()), table, key="key", column="value")
    assert values.to_pylist() == [None if key is None else found.get(key) for key in asked]


@given(st.lists(st.integers(-5, 5) | st.none(), max_size=20))
def test_each_value_once(values: list[int | None]) -> None:
    assert distinct(pa.array(values, pa.int64())).to_pylist() == sorted({v for v in values if v is not None})
