"""Every type, from a real source's value to the target's: exact, or told apart row by row; never another value."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.loader.conftest import Lanes, PostgresHarness
from tests.integration.types.duckdb_cases import CASES as DUCKDB
from tests.integration.types.redshift_cases import CASES as REDSHIFT
from tests.integration.types.travelling import Sender, carry
from tests.integration.types.values import Case
from tests.integration.types.warehouses import DuckDbWarehouse, RedshiftWarehouse

from qupersync_extractor.application.ports import Source
from qupersync_extractor.domain.pipeline import SourceTable
from qupersync_shared.kernel.positions import decode_key

pytestmark = pytest.mark.integration
REFUSED = "refused"
_ITS_REFUSALS = (asyncpg.DataError, asyncpg.ProgramLimitExceededError, asyncpg.UntranslatableCharacterError)
SOME = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))


class Warehouse(Protocol):
    source: Source
    table: SourceTable

    async def fill(self, kind: str, expressions: Sequence[str]) -> list[int]: ...

    async def texts(self, expression: str) -> dict[int, str | None]: ...


@dataclass(frozen=True, kw_only=True)
class Route:
    """The way of one test: a target of its own, and what must come of a value."""

    postgres: PostgresHarness
    lanes: Lanes
    sender: Sender

    async def check(self, case: Case, warehouse: Warehouse, values: Sequence[Any]) -> None:
        """The values and a NULL, as the whole content of the table."""
        written = ["NULL" if value is None else case.source(value) for value in (*values, None)]
        taken = await warehouse.fill(case.kind, written)
        assert len(values) in taken, "the source takes no NULL"
        fresh = self.sender.sequence == 0
        carried = await carry(warehouse.source, warehouse.table, self.lanes, self.sender)
        assert self.sender.schema.column("c").type.name == case.logical
        withheld = {int(key[0].text): reason for key, reason in carried.withheld.items()}
        given = [n for n in taken if n < len(values)]
        assert withheld.keys() == {n for n in given if case.withheld(values[n])}, withheld
        assert all("column 'c' holds what" in reason for reason in withheld.values())
        wanted = await self._wanted(
            case, warehouse, values, [n for n in taken if n < len(values) and n not in withheld]
        )
        found = await self._found(withheld, fresh=fresh)
        for n, text in wanted.items():
            assert _same(case, found.get(n), text, fresh=fresh), (
                f"{values[n]!r} must be {text!r} and is {found.get(n)!r}"
            )
        assert found.keys() - wanted.keys() == {len(values)}
        assert found[len(values)] is None

    async def _wanted(
        self, case: Case, warehouse: Warehouse, values: Sequence[Any], places: Sequence[int]
    ) -> dict[int, str | None]:
        """Texts by id; REFUSED where PostgreSQL itself takes no such value."""
        if case.told is not None:
            told = await warehouse.texts(case.told)
            return {n: told[n] for n in places}
        async with self.postgres.connected() as connection:
            await connection.execute("SET timezone TO 'UTC'")
            return await _texts(connection, {n: case.target(values[n]) for n in places})

    async def _found(self, withheld: dict[int, str], *, fresh: bool) -> dict[int, str | None]:
        async with self.postgres.connected() as connection:
            await connection.execute("SET timezone TO 'UTC'")
            rows = await connection.fetch(f"SELECT id, c::text FROM {self.lanes.pipeline.target}")
            waiting = await connection.fetch("SELECT key FROM qupersync_quarantine WHERE resolution IS NULL")
        found = {row[0]: row[1] for row in rows}
        refused = {int(decode_key(row[0])[0].text): REFUSED for row in waiting}
        if fresh:  # else it is the row's older state that stands there
            assert not found.keys() & refused.keys()
        return {n: text for n, text in (found | refused).items() if n not in withheld}


def _same(case: Case, one: str | None, other: str | None, *, fresh: bool) -> bool:
    if not fresh and {one, other} == {"0", "-0"}:
        return case.logical in {"real", "double"}  # a row in which nothing but a zero's sign changes is not rewritten
    if one == other or case.logical != "super" or REFUSED in (one, other) or one is None or other is None:
        return one == other
    return _parsed(one) == _parsed(other)


def _parsed(text: str) -> Any:
    """Numbers as numbers, with all their digits: jsonb keeps a number's trailing zeros, and means nothing by them."""
    return _told_apart(json.loads(text, parse_float=Decimal, parse_int=Decimal))


def _told_apart(value: Any) -> Any:
    match value:
        case bool():
            return "boolean", value
        case dict():
            return {name: _told_apart(one) for name, one in value.items()}
        case list():
            return [_told_apart(one) for one in value]
        case _:
            return value


async def _texts(connection: asyncpg.Connection, expressions: dict[int, str]) -> dict[int, str | None]:
    """What PostgreSQL makes of each expression; all at once, and one by one where some of them is refused."""
    if not expressions:
        return {}
    listed = ", ".join(f"({expression})::text" for expression in expressions.values())
    try:
        return dict(zip(expressions, await connection.fetchrow(f"SELECT {listed}"), strict=True))
    except _ITS_REFUSALS:
        return {n: await _text(connection, expression) for n, expression in expressions.items()}


async def _text(connection: asyncpg.Connection, expression: str) -> str:
    try:
        return str(await connection.fetchval(f"SELECT ({expression})::text"))
    except _ITS_REFUSALS:
        return REFUSED


@pytest.fixture
def route(postgres: PostgresHarness) -> Route:
    return Route(postgres=postgres, lanes=Lanes(postgres.target), sender=Sender())


@pytest.mark.parametrize("case", DUCKDB, ids=str)
async def test_nasty_values_of_duckdb(case: Case, duckdb_warehouse: DuckDbWarehouse, route: Route) -> None:
    await route.check(case, duckdb_warehouse, case.nasty)


@pytest.mark.parametrize("case", REDSHIFT, ids=str)
async def test_nasty_values_of_redshift(case: Case, redshift_warehouse: RedshiftWarehouse, route: Route) -> None:
    await route.check(case, redshift_warehouse, case.nasty)


@SOME
@given(data=st.data())
@pytest.mark.parametrize("case", DUCKDB, ids=str)
async def test_any_values_of_duckdb(
    case: Case, data: st.DataObject, duckdb_warehouse: DuckDbWarehouse, route: Route
) -> None:
    await route.check(case, duckdb_warehouse, data.draw(st.lists(case.values, min_size=10, max_size=40)))


@SOME
@given(data=st.data())
@pytest.mark.parametrize("case", REDSHIFT, ids=str)
async def test_any_values_of_redshift(
    case: Case, data: st.DataObject, redshift_warehouse: RedshiftWarehouse, route: Route
) -> None:
    await route.check(case, redshift_warehouse, data.draw(st.lists(case.values, min_size=10, max_size=40)))
