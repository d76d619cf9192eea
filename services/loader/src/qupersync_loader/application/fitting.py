"""Whether a column of the target holds every value of a source column, and if not, what would. Pure."""

import re
from dataclasses import dataclass
from typing import Final

from qupersync_shared.contracts.types import Kind, LogicalType

_NUMERIC: Final = re.compile(r"numeric(?:\((\d+),(-?\d+)\))?")
_INTEGERS: Final = ("smallint", "integer", "bigint")
_DIGITS: Final = {"smallint": 5, "integer": 10, "bigint": 19}
_PRECISION_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Fits:
    """Every value goes in unchanged."""


@dataclass(frozen=True, slots=True)
class Widen:
    """The column would hold both its own values and the source's as this type."""

    to: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No widening helps: the types are of different kinds."""


Fitting = Fits | Widen | Refused


def fit(target: str, source: LogicalType) -> Fitting:  # noqa: PLR0911  # one line a kind
    """`target` is a type as `format_type` prints it."""
    if target == source.postgres:
        return Fits()
    if source.kind in (Kind.SMALLINT, Kind.INTEGER, Kind.BIGINT):
        return _fit_integer(target, source.postgres)
    if source.kind is Kind.NUMERIC:
        return _fit_numeric(target, source.precision or 0, source.scale or 0)
    if source.kind is Kind.REAL and target == "double precision":
        return Fits()
    if source.kind is Kind.DOUBLE and target == "real":
        return Widen("double precision")
    if source.is_text:
        return _fit_text(target)
    return Refused()


def _fit_integer(target: str, source: str) -> Fitting:
    if target in _INTEGERS:
        return Fits() if _INTEGERS.index(target) >= _INTEGERS.index(source) else Widen(source)
    return _fit_numeric(target, _DIGITS[source], 0)


def _fit_numeric(target: str, precision: int, scale: int) -> Fitting:
    if target in _INTEGERS:
        held, held_scale = _DIGITS[target], 0
    else:
        match = _NUMERIC.fullmatch(target)
        if match is None:
            return Refused()
        if match[1] is None:
            return Fits()
        held_scale = int(match[2])
        held = int(match[1]) - held_scale
        if held_scale >= scale and held >= precision - scale:
            return Fits()
    wide_scale = max(held_scale, scale)
    wide = max(held, precision - scale) + wide_scale
    return Widen(f"numeric({wide},{wide_scale})") if wide <= _PRECISION_MAX else Widen("numeric")


def _fit_text(target: str) -> Fitting:
    if target == "character varying":
        return Fits()
    return Widen("text") if target.startswith(("character varying(", "character(", "character")) else Refused()
