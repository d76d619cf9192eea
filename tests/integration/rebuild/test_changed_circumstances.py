"""What changes around a rebuild: rights, the source's columns, the table that the pipeline loads into."""

from dataclasses import replace

import asyncpg
import pytest
from tests.conformance.loader.events import people, schema
from tests.integration.rebuild.furnished import as_admin
from tests.integration.rebuild.sides import Sides

from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.shadows import Way
from qupersync_loader.infrastructure.postgres.rebuild.naming import claim_key
from qupersync_local.stack import TARGET_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.kernel.errors import ConflictError


async def test_rows_are_merged_into_a_table_of_another_owner(local_stack: ThreadedStack, sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    await as_admin(local_stack, sides, f"ALTER TABLE people OWNER TO postgres; GRANT ALL ON people TO {TARGET_ROLE}")
    await sides.postgres.execute("UPDATE people SET name = 'damaged' WHERE id = 1")
    (obstacle,) = await sides.obstacles()
    assert "--merge" in obstacle.cure
    merged = await sides.rebuild(Way.MERGE)
    assert (merged.rows, merged.written) == (2, 1)
    assert [row["name"] for row in await sides.rows()] == ["n1", "n2"]
    assert await sides.leftovers() == []


async def test_columns_that_only_later_events_bring_are_in_neither_table(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    async with sides.prepared() as shadow:
        sides.schema = schema(id="bigint", name="varchar", amount="numeric(12,2)", extra="varchar")
        assert await shadow.obstacles(sides.schema) == []
        assert (await sides.look(shadow)).equal
        await sides.put(shadow)
    assert [row["name"] for row in await sides.rows()] == ["n1", "n2"]


async def test_the_shadow_of_a_table_that_is_not_loaded_into_any_more_is_removed(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    async with sides.prepared():
        pass
    sides.live.pipeline = replace(sides.live.pipeline, table="persons")
    sides.live.use_case = ApplyEvent(sides.live.pipeline, sides.live.commands, sides.live.clock)
    sides.told.clear()
    await sides.snapshot(people(1, 2, 3))
    async with sides.shadows.claim(sides.live.pipeline) as shadow:
        assert await shadow.found() is None
        await shadow.discard()
    assert await sides.leftovers() == []


async def test_a_claim_of_another_role_is_told_too(local_stack: ThreadedStack, sides: Sides) -> None:
    await sides.snapshot(people(1))
    admin = await asyncpg.connect(local_stack.stack.postgres.dsn(sides.postgres.dsn.rpartition("/")[2]))
    try:
        await admin.execute(f"SELECT pg_advisory_lock({claim_key(sides.live.pipeline)})")
        with pytest.raises(ConflictError, match="is being rebuilt by another process"):
            async with sides.shadows.claim(sides.live.pipeline):
                pass
    finally:
        await admin.close()
