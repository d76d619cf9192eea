"""Row-by-row comparison of a source table with its target: exact, type-aware, in bounded memory.

Both sides are read in key order and merged like two sorted files. Values arrive as text made by the servers; texts that
differ are compared once more by the meaning of the target's type (JSON, numbers), so a difference is a difference.
"""

import json
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from qupersync_local.compare_sides import Row, Side

DIFFERENCES_MAX = 20
_TEXT_SHOWN_MAX = 80


class DifferenceKind(StrEnum):
    """How the two sides differ at one key."""

    MISSING = "missing in the target"
    EXTRA = "only in the target"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One key. `columns` holds (source, target) of those that differ, as text; None is NULL."""

    kind: DifferenceKind
    key: tuple[Any, ...]
    columns: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)

    def __str__(self) -> str:
        key = ", ".join(str(part) for part in self.key)
        shown = "; ".join(
            f"{name}: {_shown(source)} at the source, {_shown(target)} in the target"
            for name, (source, target) in self.columns.items()
        )
        return f"key ({key}) {self.kind}{': ' if shown else ''}{shown}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows found equal, and the first differences; `cut` says that there may be more."""

    equal: int
    differences: tuple[Difference, ...] = ()
    cut: bool = False

    @property
    def same(self) -> bool:
        return not self.differences


async def compare_tables(
    source: Side, target: Side, *, key: Sequence[str], differences_max: int = DIFFERENCES_MAX
) -> Comparison:
    """Compare every source column of every row whose key is not NULL.

    Keys are not enforced at a source: of rows with one key any may be what the target holds. Rows marked as deleted in
    the target (`_qs_deleted_at`) do not count. After `differences_max` differences nothing more is read.
    """
    async with source.opened(key) as left, target.opened(key) as right:
        names = left.columns
        absent = [name for name in names if name not in right.kinds]
        if absent:
            raise ValueError(f"the target has no column {', '.join(absent)}")
        judges = [_JUDGES.get(right.kinds[name], _exactly) for name in names]
        async with aclosing(left.rows(names)) as lefts, aclosing(right.rows(names)) as rights:
            return await _merge(_groups(lefts), rights, names=names, judges=judges, differences_max=differences_max)


async def _merge(
    lefts: AsyncIterator[list[Row]],
    rights: AsyncIterator[Row],
    *,
    names: Sequence[str],
    judges: Sequence["_Judge"],
    differences_max: int,
) -> Comparison:
    equal = 0
    found: list[Difference] = []
    left, right = await anext(lefts, None), await anext(rights, None)
    while (left is not None or right is not None) and len(found) < differences_max:
        if right is None or (left is not None and left[0].key < right.key):
            assert left is not None
            found.append(Difference(kind=DifferenceKind.MISSING, key=left[0].key))
            left = await anext(lefts, None)
        elif left is None or right.key < left[0].key:
            found.append(Difference(kind=DifferenceKind.EXTRA, key=right.key))
            right = await anext(rights, None)
        else:
            columns = _differing(left, right, names, judges)
            if columns:
                found.append(Difference(kind=DifferenceKind.DIFFERENT, key=right.key, columns=columns))
            else:
                equal += 1
            left, right = await anext(lefts, None), await anext(rights, None)
    return Comparison(equal=equal, differences=tuple(found), cut=left is not None or right is not None)


async def _groups(rows: AsyncIterator[Row]) -> AsyncIterator[list[Row]]:
    """Rows of one key together."""
    group: list[Row] = []
    async for row in rows:
        if group and row.key != group[0].key:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _differing(
    candidates: list[Row], target: Row, names: Sequence[str], judges: Sequence["_Judge"]
) -> dict[str, tuple[str | None, str | None]]:
    found: dict[str, tuple[str | None, str | None]] = {}
    for source in candidates:
        if source.texts == target.texts:
            return {}
        found = {
            name: (one, other)
            for name, one, other, same in zip(names, source.texts, target.texts, judges, strict=True)
            if one != other and (one is None or other is None or not same(one, other))
        }
        if not found:
            return {}
    return found


_Judge = Callable[[str, str], bool]


def _exactly(one: str, other: str) -> bool:
    return one == other


def _as_numbers(one: str, other: str) -> bool:
    return Decimal(one) == Decimal(other)


def _as_floats(one: str, other: str) -> bool:
    first, second = float(one), float(other)
    return first == second or (math.isnan(first) and math.isnan(second))


def _as_json(one: str, other: str) -> bool:
    return bool(_parsed(one) == _parsed(other))


def _parsed(text: str) -> Any:
    # Decimal keeps digits that a float would lose; a wrapped boolean does not equal the number 1.
    return _boxed(json.loads(text, parse_float=Decimal, parse_int=Decimal))


def _boxed(value: Any) -> Any:
    match value:
        case bool():
            return ("boolean", value)
        case dict():
            return {name: _boxed(inner) for name, inner in value.items()}
        case list():
            return [_boxed(inner) for inner in value]
        case _:
            return value


_JUDGES: dict[str, _Judge] = {"integer": _as_numbers, "number": _as_numbers, "float": _as_floats, "json": _as_json}


def _shown(text: str | None) -> str:
    if text is None:
        return "NULL"
    return repr(text if len(text) <= _TEXT_SHOWN_MAX else text[: _TEXT_SHOWN_MAX - 1] + "…")
