"""Listings: what may be filtered and sorted by, and cursors that go on exactly after the last record seen.

A cursor is opaque to those who hold it: it names listing, order and filters, so that it cannot go on in another list.
It is no secret and no permission. Pages are read by key, never by number: records that are added meanwhile neither
repeat nor hide others.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from qupersync_shared.kernel.errors import QupersyncError

T = TypeVar("T")
_VERSION: Final = 1
_DIGEST_CHARACTERS: Final = 8
LIMIT_MAX: Final = 1_000


class UnknownFieldError(QupersyncError):
    """A filter or sort field that the listing does not allow."""


class BadCursorError(QupersyncError):
    """A cursor that was altered, or that belongs to another list or order."""


class Match(StrEnum):
    """How a filter compares."""

    EQUALS = "equals"
    ONE_OF = "one of"
    SINCE = "since"
    BEFORE = "before"
    IS_SET = "is set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One filter: which attribute it looks at, how, and how a text becomes its value (ValueError: not such a value)."""

    attribute: str
    match: Match = Match.EQUALS
    parse: Callable[[str], Any] = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked of a listing. `sort` is a field's name, with `-` before it for the greatest first."""

    filters: Mapping[str, Any] = field(default_factory=dict)
    sort: str | None = None
    cursor: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some records of a list; `next_cursor` goes on behind them, None when nothing follows."""

    items: tuple[T, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The attributes that order a list, the last of them unique, and whether the greatest come first."""

    name: str
    attributes: tuple[str, ...]
    descending: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What may be asked of one kind of records; everything else is an UnknownFieldError.

    `sorts` maps a name to the attributes it orders by; `identity` is appended to each as the tie-break.
    """

    name: str
    filters: Mapping[str, Field]
    sorts: Mapping[str, tuple[str, ...]]
    identity: str
    default_sort: str

    def order(self, query: Query) -> Order:
        """The order that a query asks for; UnknownFieldError."""
        asked = query.sort or self.default_sort
        name = asked.removeprefix("-")
        attributes = self.sorts.get(name)
        if attributes is None:
            raise UnknownFieldError(
                f"{self.name} cannot be sorted by {name!r}", cure=f"Sort by {', '.join(self.sorts)}; - reverses"
            )
        identity = () if attributes[-1] == self.identity else (self.identity,)
        return Order(name=asked, attributes=(*attributes, *identity), descending=asked.startswith("-"))

    def conditions(self, query: Query) -> list[tuple[Field, Any]]:
        """The filters with their values; UnknownFieldError for others. A value of None filters nothing."""
        found = []
        for name, value in query.filters.items():
            known = self.filters.get(name)
            if known is None:
                raise UnknownFieldError(
                    f"{self.name} cannot be filtered by {name!r}", cure=f"Filter by {', '.join(self.filters)}"
                )
            if value is None:
                continue
            try:
                found.append((known, known.parse(value) if isinstance(value, str) else value))
            except ValueError as error:
                raise UnknownFieldError(
                    f"{value!r} is no value for {name}: {error}", cure=f"Write another {name}"
                ) from error
        return found

    def limit(self, query: Query) -> int:
        """How many records a page has at most; UnknownFieldError beyond the bounds."""
        if not 1 <= query.limit <= LIMIT_MAX:
            raise UnknownFieldError(
                f"a page of {query.limit} is not to be had", cure=f"Ask for 1 to {LIMIT_MAX} records at a time"
            )
        return query.limit

    # ------------------------------------------------------------------------------------------------- cursors

    def after(self, query: Query) -> tuple[Any, ...] | None:
        """The values of the order's attributes behind which the page begins; None for the first page."""
        if query.cursor is None:
            return None
        try:
            content = json.loads(base64.urlsafe_b64decode(query.cursor.encode() + b"=" * (-len(query.cursor) % 4)))
            version, told, digest, values = (content[name] for name in ("v", "l", "d", "a"))
            whole = version == _VERSION and told == self._told(query) and digest == _digest(told, values)
            found = tuple(_decoded(value) for value in values) if whole else ()
        except (ValueError, KeyError, TypeError) as error:
            raise self._foreign() from error
        if len(found) != len(self.order(query).attributes):
            raise self._foreign()
        return found

    def _foreign(self) -> BadCursorError:
        return BadCursorError(
            f"the cursor does not belong to this list of {self.name}",
            cure="Use it with the same filters and the same order, or begin without one",
        )

    def page(self, query: Query, found: Sequence[T], values: Callable[[T, str], Any]) -> Page[T]:
        """A page of what was read, which is one record more than asked for where something follows."""
        limit = self.limit(query)
        items = tuple(found[:limit])
        if len(found) <= limit:
            return Page(items, None)
        order = self.order(query)
        last = [_encoded(values(items[-1], attribute)) for attribute in order.attributes]
        told = self._told(query)
        content = {"v": _VERSION, "l": told, "d": _digest(told, last), "a": last}
        packed = base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode())
        return Page(items, packed.decode().rstrip("="))

    def _told(self, query: Query) -> str:
        """What a cursor of this query belongs to, as a short digest."""
        filters = sorted((name, str(value)) for name, value in query.filters.items() if value is not None)
        return _digest(self.name, [self.order(query).name, *map(list, filters)])


def select(listing: Listing, query: Query, records: Iterable[T]) -> Page[T]:
    """The page of records in memory: what a database would answer, for the in-memory twins of the repositories."""
    order, after, conditions = listing.order(query), listing.after(query), listing.conditions(query)
    chosen = [record for record in records if all(_holds(record, *one) for one in conditions)]

    def place(record: T) -> tuple[Any, ...]:
        return tuple(getattr(record, attribute) for attribute in order.attributes)

    chosen.sort(key=place, reverse=order.descending)
    if after is not None:
        chosen = [one for one in chosen if (place(one) < after if order.descending else place(one) > after)]
    return listing.page(query, chosen[: listing.limit(query) + 1], getattr)


def _holds(record: object, filtered: Field, wanted: Any) -> bool:
    value = getattr(record, filtered.attribute)
    match filtered.match:
        case Match.EQUALS:
            return bool(value == wanted)
        case Match.ONE_OF:
            return bool(value in wanted)
        case Match.SINCE:
            return bool(value is not None and value >= wanted)
        case Match.BEFORE:
            return bool(value is not None and value < wanted)
        case Match.IS_SET:
            return (value is not None) == bool(wanted)


def _digest(name: str, content: Sequence[Any]) -> str:
    text = json.dumps([name, *content], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def _encoded(value: Any) -> list[str]:
    match value:
        case datetime():
            return ["t", value.isoformat()]
        case UUID():
            return ["u", str(value)]
        case bool() | int():
            return ["i", str(int(value))]
        case _:
            return ["s", str(value)]


def _decoded(value: Sequence[str]) -> Any:
    kind, text = value
    match kind:
        case "t":
            return datetime.fromisoformat(text)
        case "u":
            return UUID(text)
        case "i":
            return int(text)
        case "s":
            return text
    raise ValueError(f"no such kind: {kind}")
