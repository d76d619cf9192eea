"""Listings on PostgreSQL: conditions and order as row values, so that one index serves a page wherever it begins."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from qupersync_shared.runtime.records.listing import Field, Listing, Match, Query


def page_statement(
    statement: sa.Select[Any], columns: Mapping[str, sa.ColumnElement[Any]], listing: Listing, query: Query
) -> sa.Select[Any]:
    """The statement with the query's filters, order and beginning; it reads one row more than a page has.

    `columns` holds the listing's attributes; none of those it sorts by is nullable.
    """
    for filtered, wanted in listing.conditions(query):
        statement = statement.where(_condition(columns[filtered.attribute], filtered, wanted))
    order, after = listing.order(query), listing.after(query)
    sorting = [columns[attribute] for attribute in order.attributes]
    if after is not None:
        here = sa.tuple_(*sorting)
        there = sa.tuple_(*(sa.literal(value, column.type) for value, column in zip(after, sorting, strict=True)))
        statement = statement.where(here < there if order.descending else here > there)
    ordered = [column.desc() if order.descending else column.asc() for column in sorting]
    return statement.order_by(*ordered).limit(listing.limit(query) + 1)


def _condition(column: sa.ColumnElement[Any], filtered: Field, wanted: Any) -> sa.ColumnElement[bool]:
    held: sa.ColumnElement[bool]
    match filtered.match:
        case Match.EQUALS:
            held = column == wanted
        case Match.ONE_OF:
            held = column.in_(list(wanted))
        case Match.SINCE:
            held = column >= wanted
        case Match.BEFORE:
            held = column < wanted
        case Match.IS_SET:
            held = column.is_not(None) if wanted else column.is_(None)
    return held
