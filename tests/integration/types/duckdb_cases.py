"""Every type of DuckDB that travels, and its nasty values."""

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
    SINGLES,
    TEXT,
    TEXTS,
    Case,
    as_type,
    bytes_there,
    clock,
    day_there,
    decimals,
    float_text,
    json_text,
    json_there,
    moment_there,
    quoted,
    text_here,
    text_there,
    whole,
    zoned,
)

# DuckDB's own limits: 290308-12-22 BC and 294247-01-10, 5877642-06-25 BC and 5881580-07-10.
LEAST_MOMENT, MOST_MOMENT = -9_223_372_022_400_000_000, (1 << 63) - 2
LEAST_DAY, MOST_DAY = -(1 << 31) + 2, (1 << 31) - 2


def _whole(kind: str, logical: str, postgres: str, bits: int, *, signed: bool = True) -> Case:
    values, nasty = whole(bits, signed=signed)
    return Case(
        kind=kind, logical=logical, values=values, nasty=nasty, source=as_type(kind), target=as_type(postgres),
        withheld=lambda value: abs(value) >= 10**38,
    )  # fmt: skip


def _decimal(precision: int, scale: int) -> Case:
    values, nasty = decimals(precision, scale)
    kind = f"NUMERIC({precision},{scale})"
    return Case(kind=kind, logical=kind.lower(), values=values, nasty=nasty, source=as_type(kind), target=as_type(kind))


def _moment(kind: str, logical: str, factor: int, divisor: int = 1) -> Case:
    """Of a timestamp that counts in units of `factor`/`divisor` microseconds."""
    made = {"TIMESTAMP_NS": "make_timestamp_ns", "TIMESTAMP WITH TIME ZONE": "make_timestamptz"}
    least, most = LEAST_MOMENT * divisor // factor + 1, MOST_MOMENT // factor
    if divisor > 1:
        least, most = -(1 << 63) + DAY * divisor, (1 << 63) - 2
    fits = [n * divisor // factor for n in (*MOMENTS, *FAR) if n not in INFINITE]
    nasty = [n for n in fits if least <= n <= most] + [least, most, *INFINITE] + ([1, 999] if divisor > 1 else [])

    def here(value: Any) -> str:
        if value in INFINITE:
            return f"CAST('{value}' AS {kind})"
        return f"{made.get(kind, 'make_timestamp')}(CAST({value * factor} AS BIGINT))"

    there = moment_there(logical)
    return Case(
        kind=kind,
        logical=logical,
        values=st.integers(least, most) | st.integers(-(10**6), 10**6),
        nasty=nasty,
        source=here,
        target=lambda value: there(value if value in INFINITE else value * factor // divisor),
        withheld=lambda value: value not in INFINITE and bool(value * factor % divisor),
    )


def _nested(kind: str, values: st.SearchStrategy[Any], nasty: list[Any], here: Any, plain: Any = None) -> Case:
    return Case(
        kind=kind,
        logical="super",
        values=values,
        nasty=nasty,
        source=here,
        target=lambda value: json_there(plain(value) if plain else value),
    )


def _list(value: Any) -> str:
    return "[" + ", ".join("NULL" if one is None else f"'{one}'" for one in value) + "]"


def _map(value: dict[int, str]) -> str:
    return f"MAP([{', '.join(map(str, value))}]::INTEGER[], [{', '.join(map(text_here, value.values()))}]::VARCHAR[])"


def _union(value: int | str) -> str:
    name, written = ("number", f"{value}::BIGINT") if isinstance(value, int) else ("word", text_here(value))
    return f"union_value({name} := {written})"


def _struct(value: tuple[Any, ...]) -> str:
    number, data, text = value
    return f"{{'number': '{number}', 'data': unhex('{data.hex()}'), 'within': {{'text': {text_here(text)}}}}}"


def _struct_there(value: tuple[Any, ...]) -> str:
    number, data, text = value
    shown = "".join(f"\\x{byte:02X}" for byte in data)
    written = f'{{"number": {number}, "data": {json_text(shown)}, "within": {{"text": {json_text(text)}}}}}'
    return f"CAST({text_there(written)} AS jsonb)"


_INTEGERS = st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=4)
_STRUCTS = st.tuples(decimals(38, 10)[0], st.binary(max_size=4).map(lambda b: bytes(c | 128 for c in b)), TEXT)
_POINTS = st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
_TIMETZ = st.tuples(st.integers(0, DAY - 1), st.integers(-57_599, 57_599))


def _time_ns(value: int) -> str:
    return f"{clock(value // 1000)}{value % 1000:03}"


CASES = [
    _whole("TINYINT", "smallint", "smallint", 8),
    _whole("SMALLINT", "smallint", "smallint", 16),
    _whole("INTEGER", "integer", "integer", 32),
    _whole("BIGINT", "bigint", "bigint", 64),
    _whole("HUGEINT", "numeric(38,0)", "numeric(38,0)", 128),
    _whole("UTINYINT", "smallint", "smallint", 8, signed=False),
    _whole("USMALLINT", "integer", "integer", 16, signed=False),
    _whole("UINTEGER", "bigint", "bigint", 32, signed=False),
    _whole("UBIGINT", "numeric(20,0)", "numeric(20,0)", 64, signed=False),
    _whole("UHUGEINT", "numeric(38,0)", "numeric(38,0)", 128, signed=False),
    _decimal(4, 0), _decimal(9, 4), _decimal(18, 18), _decimal(38, 0), _decimal(38, 10), _decimal(38, 38),
    Case(kind="BIGNUM", logical="varchar", values=st.integers(-(10**60), 10**60), nasty=[0, -1, 10**300, -(10**300)],
         source=as_type("BIGNUM"), target=quoted),
    Case(kind="FLOAT", logical="real", values=st.floats(width=32).map(float_text(32)),
         nasty=[float_text(32)(n) for n in SINGLES], source=as_type("FLOAT"), target=as_type("real")),
    Case(kind="DOUBLE", logical="double", values=st.floats().map(float_text(64)),
         nasty=[float_text(64)(n) for n in DOUBLES], source=as_type("DOUBLE"), target=as_type("double precision")),
    Case(kind="BOOLEAN", logical="boolean", values=st.booleans(), nasty=[True, False],
         source=as_type("BOOLEAN"), target=as_type("boolean")),
    Case(kind="VARCHAR", logical="varchar", values=TEXT, nasty=[*TEXTS, "\0", "a\0b"], source=text_here,
         target=text_there),
    Case(kind="ENUM('', 'a', 'ü ''')", logical="varchar", values=st.sampled_from(["", "a", "ü '"]), nasty=["", "ü '"],
         source=text_here, target=text_there, name="ENUM"),
    Case(kind="BIT", logical="varchar", values=st.text("01", min_size=1, max_size=40), nasty=["0", "1", "01" * 50],
         source=as_type("BIT"), target=quoted),
    Case(kind="INTERVAL", logical="varchar", nasty=[(0, 0, 0), (-1, 1, -1), (2**31 - 1, -(2**31), 10**17)],
         values=st.tuples(st.integers(-5000, 5000), st.integers(-5000, 5000), st.integers(-(10**15), 10**15)),
         source=lambda v: f"to_months({v[0]}) + to_days(CAST({v[1]} AS INTEGER)) + to_microseconds({v[2]})",
         target=lambda _: "''", told="CAST(c AS VARCHAR)"),
    Case(kind="BLOB", logical="varbyte", values=st.binary(max_size=40), nasty=BYTES,
         source=lambda v: f"unhex('{v.hex()}')", target=bytes_there),
    Case(kind="GEOMETRY", logical="varbyte", values=_POINTS, nasty=[(0.0, 0.0), (0.1, 0.1 + 0.2)],
         source=lambda v: f"'POINT ({v[0]!r} {v[1]!r})'", target=lambda v: bytes_there(struct.pack("<BIdd", 1, 1, *v))),
    Case(kind="UUID", logical="uuid", values=st.uuids(), nasty=["0" * 32, "f" * 32, "8" + "0" * 31],
         source=as_type("UUID"), target=as_type("uuid")),
    Case(kind="DATE", logical="date", values=st.integers(LEAST_DAY, MOST_DAY) | st.integers(-(10**6), 10**6),
         nasty=[*DAYS, LEAST_DAY, MOST_DAY, 2_145_031_948, 2_145_031_949], target=day_there,
         source=lambda v: f"DATE '{v}'" if v in INFINITE else f"DATE '1970-01-01' + CAST({v} AS INTEGER)"),
    Case(kind="TIME", logical="time", values=st.integers(0, DAY - 1), nasty=[0, 1, DAY - 1, DAY],
         source=lambda v: f"TIME '{clock(v)}'", target=lambda v: f"time '{clock(v)}'", withheld=lambda v: v == DAY),
    Case(kind="TIME_NS", logical="time", values=st.integers(0, DAY * 1000 - 1), nasty=[0, 1, 1000, DAY * 1000 - 1000],
         source=lambda v: f"CAST('{_time_ns(v)}' AS TIME_NS)", target=lambda v: f"time '{clock(v // 1000)}'",
         withheld=lambda v: bool(v % 1000)),
    Case(kind="TIMETZ", logical="timetz", values=_TIMETZ, target=lambda v: f"timetz '{zoned(v)}'",
         nasty=[(0, 0), (DAY - 1, 57_599), (1, -57_599), (DAY // 2, 3_723), (DAY, 0)],
         source=lambda v: f"CAST('{zoned(v)}' AS TIMETZ)"),
    _moment("TIMESTAMP", "timestamp", 1),
    _moment("TIMESTAMP WITH TIME ZONE", "timestamptz", 1),
    _moment("TIMESTAMP_S", "timestamp", 1_000_000),
    _moment("TIMESTAMP_MS", "timestamp", 1000),
    _moment("TIMESTAMP_NS", "timestamp", 1, 1000),
    Case(kind="JSON", logical="super", values=JSON.map(json_text), nasty=JSON_TEXTS, source=text_here,
         target=lambda v: f"CAST({text_there(v)} AS jsonb)"),
    _nested("INTEGER[]", _INTEGERS, [[], [None], [1, None, -(2**31)]], _list),
    _nested("INTEGER[2]", st.tuples(st.integers(-9, 9), st.none() | st.integers(-9, 9)), [(1, None)], _list),
    _nested("VARCHAR[][]", st.lists(st.lists(TEXT, max_size=3), max_size=3), [[], [[]], [["\0"]], [["\"'\\", "é"]]],
            lambda v: "[" + ", ".join("[" + ", ".join(map(text_here, one)) + "]" for one in v) + "]"),
    _nested("DOUBLE[]", st.lists(st.floats(), max_size=3), [[n] for n in DOUBLES], _list),
    Case(kind="STRUCT(number DECIMAL(38,10), data BLOB, within STRUCT(text VARCHAR))", logical="super", name="STRUCT",
         values=_STRUCTS, nasty=[("9" * 28 + "." + "9" * 10, b"\xff\x80", "é"), ("0.0000000001", b"", "\0")],
         source=_struct, target=_struct_there),
    _nested("MAP(INTEGER, VARCHAR)", st.dictionaries(st.integers(-99, 99), TEXT, max_size=3), [{}, {-1: "x", 2: ""}],
            _map),
    _nested("UNION(number BIGINT, word VARCHAR)", st.integers(-9, 9) | TEXT, [2**63 - 1, "", "é"],
            _union, lambda v: {"number" if isinstance(v, int) else "word": v}),
    _nested("VARIANT", _INTEGERS, [[1, None]], lambda v: f"CAST({_list(v)} AS INTEGER[])"),
]  # fmt: skip
