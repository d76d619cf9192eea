"""Every type of Redshift that travels, and its nasty values, as far as the stand-in's PostgreSQL has them too."""

import struct
from typing import Any

from hypothesis import strategies as st
from tests.integration.types.values import (
    BYTES,
    DAY,
    DAYS,
    DOUBLES,
    FAR,
    INFINITE,
    JSON,
    JSON_TEXTS,
    MOMENTS,
    PLAIN,
    SINGLES,
    TEXTS,
    Case,
    as_type,
    bytes_there,
    clock,
    day_there,
    decimals,
    float_text,
    json_text,
    moment_there,
    quoted,
    text_there,
    whole,
    zoned,
)

# PostgreSQL goes from 4713 BC to 294276; Arrow's microseconds end before that.
LEAST_MOMENT, MOST_MOMENT = -210_866_803_200_000_000, 9_224_318_015_999_999_999
LEAST_DAY, MOST_DAY = -2_440_588, 2_145_031_948


def _whole(kind: str, bits: int) -> Case:
    values, nasty = whole(bits)
    return Case(kind=kind, logical=kind, values=values, nasty=nasty, source=as_type(kind), target=as_type(kind))


def _decimal(precision: int, scale: int) -> Case:
    values, nasty = decimals(precision, scale)
    kind = f"numeric({precision},{scale})"
    return Case(kind=kind, logical=kind, values=values, nasty=nasty, source=as_type(kind), target=as_type(kind))


def _float(kind: str, logical: str, width: int, nasty: list[float]) -> Case:
    write = float_text(width)
    return Case(
        kind=kind, logical=logical, values=st.floats(width=width).map(write),  # type: ignore[arg-type]
        nasty=[write(number) for number in nasty], source=as_type(kind), target=as_type(kind),
    )  # fmt: skip


def _moment(kind: str) -> Case:
    return Case(
        kind=kind,
        logical=kind,
        values=st.integers(LEAST_MOMENT, MOST_MOMENT) | st.integers(-(10**16), 10**16),
        nasty=[
            *MOMENTS,
            *(n for n in FAR if n >= LEAST_MOMENT),
            LEAST_MOMENT,
            MOST_MOMENT,
            (1 << 63) - 2,
            (1 << 63) - 1,
        ],
        source=moment_there(kind),
        target=moment_there(kind),
        withheld=lambda value: value not in INFINITE and value >= (1 << 63) - 1,
    )


def _point(value: tuple[float, float]) -> str:
    return struct.pack("<BIdd", 1, 1, *value).hex()


_POINTS = st.tuples(st.floats(-180, 180), st.floats(-90, 90))
_INTERVALS = st.tuples(st.integers(-5000, 5000), st.integers(-5000, 5000), st.integers(-(10**15), 10**15))


def _interval(value: tuple[Any, ...]) -> str:
    return f"interval '{value[0]} months {value[1]} days {value[2]} microseconds'"


CASES = [
    _whole("smallint", 16), _whole("integer", 32), _whole("bigint", 64),
    _decimal(1, 0), _decimal(18, 0), _decimal(18, 18), _decimal(19, 4), _decimal(38, 0), _decimal(38, 10),
    _decimal(38, 37), _decimal(38, 38),
    _float("real", "real", 32, SINGLES), _float("double precision", "double", 64, DOUBLES),
    Case(kind="boolean", logical="boolean", values=st.booleans(), nasty=[True, False], source=as_type("boolean"),
         target=as_type("boolean")),
    Case(kind="char(12)", logical="char", values=st.text("ab Z~", max_size=12), nasty=["", " ", "a ", " a", "x" * 12],
         source=text_there, target=lambda v: text_there(v.rstrip(" "))),
    Case(kind="varchar(65535)", logical="varchar", values=PLAIN, nasty=TEXTS, source=text_there, target=text_there),
    Case(kind="date", logical="date", values=st.integers(LEAST_DAY, MOST_DAY) | st.integers(-(10**6), 10**6),
         nasty=[*(d for d in DAYS if d in INFINITE or d >= LEAST_DAY), MOST_DAY], source=day_there, target=day_there),
    Case(kind="time", logical="time", values=st.integers(0, DAY - 1), nasty=[0, 1, DAY - 1, DAY],
         source=lambda v: f"time '{clock(v)}'", target=lambda v: f"time '{clock(v)}'", withheld=lambda v: v == DAY),
    Case(kind="timetz", logical="timetz", nasty=[(0, 0), (DAY - 1, 57_599), (1, -57_599), (DAY // 2, 3_723), (DAY, 0)],
         values=st.tuples(st.integers(0, DAY), st.integers(-57_599, 57_599)),
         source=lambda v: f"timetz '{zoned(v)}'", target=lambda v: f"timetz '{zoned(v)}'"),
    _moment("timestamp"), _moment("timestamptz"),
    Case(kind="interval", logical="varchar", values=_INTERVALS, nasty=[(0, 0, 0), (-1, 1, -1), (2**31 - 1, 0, 0)],
         source=_interval, target=lambda _: "''", told="c::text"),
    Case(kind="super", logical="super", values=JSON.map(json_text), nasty=JSON_TEXTS,
         source=lambda v: f"json_parse({text_there(v)})", target=lambda v: f"CAST({text_there(v)} AS jsonb)"),
    Case(kind="varbyte(1024000)", logical="varbyte", values=st.binary(max_size=40), nasty=BYTES,
         source=lambda v: f"to_varbyte({bytes_there(v)})", target=bytes_there),
    Case(kind="geometry", logical="varchar", values=_POINTS.map(_point), nasty=[_point((0.1, 0.1 + 0.2)), ""],
         source=as_type("geometry"), target=quoted),
    Case(kind="geography", logical="varchar", values=_POINTS.map(_point), nasty=[_point((0.1, 0.1 + 0.2)), ""],
         source=as_type("geography"), target=quoted),
]  # fmt: skip
