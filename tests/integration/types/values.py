"""Values of every type: how they are written at a source and, independently, in PostgreSQL."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

Write = Callable[[Any], str]
DAY = 86_400_000_000
INFINITE = ("infinity", "-infinity")


def never(value: Any) -> bool:  # the signature of `withheld`
    return False


@dataclass(frozen=True, kw_only=True)
class Case:
    """A source column type. `source` and `target` write a value as an expression of the source's SQL and PostgreSQL's.

    `withheld`: whether no event can carry it. What PostgreSQL itself refuses must be quarantined there; all else must
    arrive. `told`: an expression of the source's SQL over column c; its text is what the target must have instead.
    """

    kind: str
    logical: str
    values: st.SearchStrategy[Any]
    nasty: Sequence[Any]
    source: Write
    target: Write
    withheld: Callable[[Any], bool] = never
    told: str | None = None
    name: str = field(default="")

    def __str__(self) -> str:
        return self.name or self.kind


# ------------------------------------------------------------------------------------------------------ writing


def quoted(value: Any) -> str:
    return f"'{value}'"


def as_type(kind: str) -> Write:
    """A value's text, cast; PostgreSQL and DuckDB read it alike."""
    return lambda value: f"CAST('{value}' AS {kind})"


def text_here(text: str) -> str:
    """A text in DuckDB's SQL, whatever its characters."""
    return f"decode(unhex('{text.encode().hex()}'))"


def text_there(text: str) -> str:
    """A text in PostgreSQL's SQL, whatever its characters."""
    return f"convert_from(decode('{text.encode().hex()}', 'hex'), 'UTF8')"


def bytes_there(value: bytes) -> str:
    return f"decode('{value.hex()}', 'hex')"


def json_there(value: Any) -> str:
    """A value as jsonb; `NaN` where JSON has no word for it, which PostgreSQL refuses."""
    return f"CAST({text_there(json.dumps(value))} AS jsonb)"


def moment_there(kind: str) -> Write:
    """Microseconds since 1970 as PostgreSQL's timestamp, or its infinity."""

    def written(value: Any) -> str:
        if value in INFINITE:
            return f"CAST('{value}' AS {kind})"
        days, rest = divmod(value, DAY)
        return f"CAST(timestamp '1970-01-01' + interval '{days} days' + interval '{rest} microseconds' AS {kind})"

    return written


def day_there(value: Any) -> str:
    return f"date '{value}'" if value in INFINITE else f"(date '1970-01-01' + {value})"


def clock(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:06}"


def zoned(value: tuple[int, int]) -> str:
    """A time of day and its distance from UTC in seconds."""
    sign, away = ("-" if value[1] < 0 else "+"), abs(value[1])
    return f"{clock(value[0])}{sign}{away // 3600:02}:{away // 60 % 60:02}:{away % 60:02}"


def float_text(width: int) -> Write:
    """A text that is this number and no other of its width."""
    return lambda value: f"{value:.9g}" if width == 32 else repr(value)


# ------------------------------------------------------------------------------------------------------- values


def whole(bits: int, *, signed: bool = True) -> tuple[st.SearchStrategy[int], list[int]]:
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return st.integers(least, most), [least, least + 1, 0, 1, most - 1, most]


def decimals(precision: int, scale: int) -> tuple[st.SearchStrategy[str], list[str]]:
    most = 10**precision - 1
    numbers = st.integers(-most, most) | st.integers(-1000, 1000)
    nasty = [-most, -1, 0, 1, 10 ** (precision - 1), most]
    return numbers.map(lambda n: decimal_text(n, scale)), [decimal_text(n, scale) for n in nasty]


def decimal_text(number: int, scale: int) -> str:
    return format(Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale)), "f")


FLOATS = [0.0, -0.0, math.nan, math.inf, -math.inf, 1.5, -1.5, 0.1, 1e15, 1e16, 123456.7]
SINGLES = [*FLOATS, 2.0**-149, -(2.0**-149), 2.0**-126, 3.4028234663852886e38, 2.0**24, 0.10000000149011612]
DOUBLES = [*FLOATS, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 2.0**53, 0.1 + 0.2, 1e22, 1e23]

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
WIDEST = "€" * 21_845  # 65,535 bytes
TEXTS = [
    "",
    " ",
    "a ",
    " \t\n\r\\N\\.'\"",
    "é",
    "e\u0301",
    "😀" * 3,
    "\x01\x7f\x80\ufeff\uffff\U0010ffff",
    "NULL",
    WIDEST,
]
BYTES = [b"", b"\0", b"\xff" * 3, b"\\x00", bytes(range(256)), b"\xa5" * 1_024_000]

MOMENTS = [0, -1, 1, 946_684_800_000_000, -62_135_596_800_000_000, 253_402_300_799_999_999, *INFINITE]
FAR = [-210_866_803_200_000_000, -210_866_803_200_000_001, 9_223_371_331_199_999_999, -62_167_219_200_000_001]
DAYS = [0, -1, 10_957, -719_162, -719_163, 2_932_896, 11_248_737, -2_440_588, -2_440_589, *INFINITE]


class Number:
    """A number that JSON writes with all its digits."""

    def __init__(self, value: Any) -> None:
        self.text = repr(value) if isinstance(value, float) else str(value)


_NUMBERS = st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.floats(allow_nan=False)
_LEAVES = st.none() | st.booleans() | _NUMBERS.map(Number) | TEXT
JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=8
)
JSON_TEXTS = [
    "null", '"text"', "true", "-0", "-0.0", "1.00", "1e400", "-1E-400", "12345678901234567890.123456789012345678901",
    "123456789012345678901234567890123456789012345678901234567890", '{"a": 1, "a": 2}', '{"b": 1, "aa": 2, "a": 3}',
    "[]", "{}", '{"": {"": []}}', '"\\u0000"', '{"\\u0000": 1}', '"\\ud83d\\ude00"', '"\\ud83d"', "1e200000",
    " \t\n[ 1 , 2 ]\n", '"' + "é" * 60_000 + '"', "[" * 500 + "]" * 500, "[" * 20_000 + "]" * 20_000,
    '["' + '","'.join("ab" * 9_000) + '"]',
]  # fmt: skip


def json_text(value: Any) -> str:
    match value:
        case Number():
            return value.text
        case list():
            return "[" + ", ".join(map(json_text, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{json.dumps(name)}: {json_text(one)}" for name, one in value.items()) + "}"
        case _:
            return json.dumps(value)
