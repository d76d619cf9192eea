"""What a column of an entity may hold: its logical type, whether NULL, and within which bounds."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Context, Decimal, InvalidOperation
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's logical type, by the name that the wire format has for it: `bigint`, `numeric(18,6)`."""

    kind: str
    precision: int = 0
    scale: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind}({self.precision},{self.scale})" if self.precision else self.kind


SMALLINT: Final = ColumnType("smallint")
INTEGER: Final = ColumnType("integer")
BIGINT: Final = ColumnType("bigint")
DOUBLE: Final = ColumnType("double")
BOOLEAN: Final = ColumnType("boolean")
VARCHAR: Final = ColumnType("varchar")
DATE: Final = ColumnType("date")
TIMESTAMP: Final = ColumnType("timestamp")
TIMESTAMPTZ: Final = ColumnType("timestamptz")
SUPER: Final = ColumnType("super")


def numeric(precision: int, scale: int) -> ColumnType:
    """An exact number with `scale` digits behind the point."""
    return ColumnType("numeric", precision, scale)


@dataclass(frozen=True, slots=True)
class Within:
    """Bounds of a number, both included; None is unbounded."""

    low: float | None = None
    high: float | None = None

    def __contains__(self, value: Any) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.high is None:
            return f"at least {self.low}"
        return f"at most {self.high}" if self.low is None else f"between {self.low} and {self.high}"


COUNT: Final = Within(0)
SHARE: Final = Within(0, 100)

_BITS: Final = {SMALLINT: 16, INTEGER: 32, BIGINT: 64}
_PYTHON: Final[dict[str, tuple[type, str]]] = {
    **dict.fromkeys((SMALLINT.kind, INTEGER.kind, BIGINT.kind), (int, "an int")),
    DOUBLE.kind: (float, "a float"),
    "numeric": (Decimal, "a Decimal"),
    BOOLEAN.kind: (bool, "a bool"),
    VARCHAR.kind: (str, "a str"),
    DATE.kind: (date, "a date"),
    TIMESTAMP.kind: (datetime, "a datetime without time zone"),
    TIMESTAMPTZ.kind: (datetime, "a datetime with time zone"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRule:
    """What one column may hold."""

    type: ColumnType
    nullable: bool
    within: Within | None

    @property
    def cure(self) -> str:
        """What to give instead, in words."""
        wanted = "JSON" if self.type == SUPER else _PYTHON[self.type.kind][1]
        bounds = "" if self.within is None else f" {self.within}"
        return f"Give {wanted}{bounds} that fits {self.type.name}{', or None' if self.nullable else ''}"

    def problem(self, value: Any) -> str | None:
        """What is wrong with the value, without telling it; None where it fits."""
        if value is None:
            return None if self.nullable else "is NULL"
        if not self._is_of_kind(value):
            return f"is of kind {_kind_of(value)}"
        if not self._fits(value):
            return f"is out of the range of {self.type.name}"
        if self.within is not None and value not in self.within:
            return f"is not {self.within}"
        return None

    def _is_of_kind(self, value: Any) -> bool:
        if self.type == SUPER:
            return isinstance(value, str | int | float | bool | dict | list)
        wanted = _PYTHON[self.type.kind][0]
        if not isinstance(value, wanted):
            return False
        if isinstance(value, datetime) and wanted is datetime:
            return (value.tzinfo is not None) is (self.type == TIMESTAMPTZ)
        # bool is an int, and datetime a date, but a column of one is none of the other.
        return not (wanted is int and isinstance(value, bool)) and not (wanted is date and isinstance(value, datetime))

    def _fits(self, value: Any) -> bool:
        bits = _BITS.get(self.type)
        if bits is not None:
            return bool(-(2 ** (bits - 1)) <= value < 2 ** (bits - 1))
        return not isinstance(value, Decimal) or self._fits_numeric(value)

    def _fits_numeric(self, value: Decimal) -> bool:
        try:
            rounded = value.quantize(Decimal(1).scaleb(-self.type.scale), context=Context(prec=self.type.precision))
        except InvalidOperation:  # more digits than the precision, NaN or infinite
            return False
        return rounded == value


def rule_of(annotation: Any) -> ColumnRule:
    """The rule that an annotation states: `Annotated[int | None, BIGINT, COUNT]`. TypeError where it names no type."""
    first, *stated = get_args(annotation)
    named = [one for one in stated if isinstance(one, ColumnType)]
    if len(named) != 1:
        raise TypeError(f"{annotation} names no column type: write Annotated[…, BIGINT] or another")
    bounds = [one for one in stated if isinstance(one, Within)]
    nullable = get_origin(first) in {Union, UnionType} and type(None) in get_args(first)
    return ColumnRule(type=named[0], nullable=nullable, within=bounds[0] if bounds else None)


def _kind_of(value: Any) -> str:
    if isinstance(value, datetime):
        return f"datetime {'without' if value.tzinfo is None else 'with'} time zone"
    return type(value).__name__
