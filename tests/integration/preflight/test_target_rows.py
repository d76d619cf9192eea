"""Each row about a pipeline's target table, with both verdicts, in a real PostgreSQL."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.e2e.world import opened
from tests.integration.preflight.conftest import Preflown, migrate

from qupersync_local.stack import TARGET_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.runtime.plugins import Verdict

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

COLUMNS = """
    id bigint PRIMARY KEY, name text, amount numeric(18, 6), ratio double precision, tags jsonb, day date,
    flag boolean, updated_at timestamp, synced_at timestamptz, _qs_sequence bigint, _qs_slot smallint
"""
SUBJECTS = ["target table", "target rights", "target columns", "target behaviour"]


@pytest.fixture
async def admin(preflown: Preflown) -> AsyncIterator[asyncpg.Connection]:
    """A superuser in the target database: whose tables are not the loader's."""
    stack = preflown.world.stack.stack
    name = preflown.world.services_target_dsn.rpartition("/")[2]
    connection = await asyncpg.connect(stack.postgres.dsn(name))
    yield connection
    await connection.close()


async def test_a_table_that_is_yet_to_be_made(preflown: Preflown, admin: asyncpg.Connection) -> None:
    rows = await preflown.target()
    assert {name: row.verdict for name, row in rows.items() if name.startswith("target")} == {
        "target table": Verdict.OK,
        "target rights": Verdict.OK,
    }
    await admin.execute(
        f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {TARGET_ROLE}; ALTER SCHEMA public OWNER TO postgres"
    )
    rights = (await preflown.target())["target rights"]
    assert rights.verdict is Verdict.FAILED
    assert rights.cure == f'GRANT USAGE, CREATE ON SCHEMA "public" TO {TARGET_ROLE}'
    await admin.execute(rights.cure)
    assert (await preflown.target())["target rights"].verdict is Verdict.OK


async def test_a_schema_that_may_not_be_made(local_stack: ThreadedStack) -> None:
    async with opened(local_stack, pipeline={"into": "elsewhere.rows"}) as world:
        await migrate(world)
        name = world.services_target_dsn.rpartition("/")[2]
        admin = await asyncpg.connect(world.stack.stack.postgres.dsn(name))
        try:
            await admin.execute(f"ALTER DATABASE {name} OWNER TO postgres")
            found = (await Preflown(world=world).target())["target rights"]
            assert found.verdict is Verdict.FAILED
            assert f'CREATE SCHEMA "elsewhere" AUTHORIZATION {TARGET_ROLE}' in found.cure
        finally:
            await admin.close()


async def test_a_table_that_fits(preflown: Preflown) -> None:
    await preflown.world.app.execute(f"CREATE TABLE {preflown.world.target} ({COLUMNS})")
    rows = await preflown.target()
    assert [rows[name].verdict for name in SUBJECTS] == [Verdict.OK] * 4, rows
    assert "types, key and unique index fit" in rows["target columns"].message


async def test_columns_that_will_be_changed_or_are_refused(preflown: Preflown) -> None:
    world = preflown.world
    await world.app.execute(f"CREATE TABLE {world.target} ({COLUMNS.replace('numeric(18, 6)', 'numeric(10, 2)')})")
    await world.app.execute(f"ALTER TABLE {world.target} DROP COLUMN flag")
    found = (await preflown.target())["target columns"]
    assert found.verdict is Verdict.OK
    assert 'ADD COLUMN "flag" boolean' in found.message
    assert 'ALTER COLUMN "amount" TYPE numeric(' in found.message
    await world.app.execute(f"ALTER TABLE {world.target} ALTER day TYPE text")
    refused = (await preflown.target())["target columns"]
    assert refused.verdict is Verdict.FAILED
    assert "'day'" in refused.message


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("DROP CONSTRAINT {name}_pkey", "no unique index over the key"),
        ("DROP COLUMN name, ADD COLUMN name text GENERATED ALWAYS AS ('x') STORED", "is generated"),
        (
            "DROP COLUMN id, ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            "GENERATED ALWAYS AS IDENTITY",
        ),
        ("ALTER _qs_slot TYPE bigint", "not smallint"),
    ],
)
async def test_tables_that_upserts_cannot_use(preflown: Preflown, change: str, part: str) -> None:
    world = preflown.world
    await world.app.execute(f"CREATE TABLE {world.target} ({COLUMNS})")
    await world.app.execute(f"ALTER TABLE {world.target} {change.format(name=world.name)}")
    found = (await preflown.target())["target columns"]
    assert found.verdict is Verdict.FAILED
    assert part in found.message
    assert found.cure


async def test_a_frozen_schema_and_columns_that_must_not_be_null(local_stack: ThreadedStack) -> None:
    for policy, verdict in (("evolve", Verdict.OK), ("freeze", Verdict.FAILED)):
        async with opened(local_stack, pipeline={"schema": policy}) as world:
            await migrate(world)
            await world.app.execute(f"CREATE TABLE {world.target} ({COLUMNS}, note text NOT NULL)")
            found = (await Preflown(world=world).target())["target columns"]
            assert found.verdict is verdict, found
            assert '"note" DROP NOT NULL' in found.message


async def test_the_table_of_another_role(preflown: Preflown, admin: asyncpg.Connection) -> None:
    world = preflown.world
    await admin.execute(f"CREATE TABLE {world.target} ({COLUMNS})")
    rows = await preflown.target()
    assert rows["target rights"].verdict is Verdict.FAILED
    grant = f'GRANT SELECT, INSERT, UPDATE, DELETE ON "public"."{world.name}" TO {TARGET_ROLE}'
    assert rows["target rights"].cure == grant
    await admin.execute(grant)
    rows = await preflown.target()
    assert rows["target rights"].verdict is Verdict.WARNING
    assert "belongs to postgres" in rows["target rights"].message
    assert f"OWNER TO {TARGET_ROLE}" in rows["target rights"].cure
    assert rows["target columns"].verdict is Verdict.OK
    await admin.execute(f"ALTER TABLE {world.target} DROP COLUMN flag")
    columns = (await preflown.target())["target columns"]
    assert columns.verdict is Verdict.FAILED
    assert columns.cure == f'As postgres: ALTER TABLE "public"."{world.name}" ADD COLUMN "flag" boolean'


async def test_triggers_rules_children_and_row_security(preflown: Preflown) -> None:
    world = preflown.world
    table = world.target
    await world.app.execute(f"CREATE TABLE {table} ({COLUMNS})")
    await world.app.execute(
        "CREATE FUNCTION busy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        f"CREATE TRIGGER tidy BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION busy();"
        f"CREATE TRIGGER asleep BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION busy();"
        f"ALTER TABLE {table} DISABLE TRIGGER asleep"
    )
    found = (await preflown.target())["target behaviour"]
    assert (found.verdict, found.message) == (Verdict.WARNING, "triggers fire on what is loaded: tidy")
    await world.app.execute(
        f"DROP TRIGGER tidy ON {table}; CREATE TABLE child () INHERITS ({table});"
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    )
    found = (await preflown.target())["target behaviour"]
    assert found.verdict is Verdict.WARNING
    assert "row-level security is in force" in found.message
    assert "child inherit from it" in found.message
    await world.app.execute(f"CREATE RULE aside AS ON INSERT TO {table} DO ALSO NOTHING")
    found = (await preflown.target())["target behaviour"]
    assert found.verdict is Verdict.FAILED
    assert "PostgreSQL refuses upserts" in found.message
    await world.app.execute(found.cure)
    assert (await preflown.target())["target behaviour"].verdict is Verdict.WARNING


async def test_partitioned_tables(preflown: Preflown) -> None:
    world = preflown.world
    await world.app.execute(f"CREATE TABLE {world.target} ({COLUMNS}) PARTITION BY HASH (id)")
    found = await preflown.target()
    assert found["target behaviour"].verdict is Verdict.OK
    assert found["target behaviour"].message.startswith("partitioned")
    assert found["target columns"].verdict is Verdict.OK


async def test_tables_that_are_not_ours(preflown: Preflown) -> None:
    world = preflown.world
    await world.app.execute(f"CREATE TABLE {world.target} (id bigint PRIMARY KEY)")
    found = (await preflown.target())["target table"]
    assert found.verdict is Verdict.WARNING
    assert "adopt: keep" in found.cure
    await world.app.execute(
        "INSERT INTO qupersync_pipeline (group_name, pipeline, target_schema, target_table) "
        "VALUES ('main', 'another', 'public', $1)",
        world.name,
    )
    found = (await preflown.target())["target table"]
    assert found.verdict is Verdict.FAILED
    assert "belongs to pipeline another" in found.message


async def test_a_view_is_no_table(preflown: Preflown) -> None:
    await preflown.world.app.execute(f"CREATE VIEW {preflown.world.target} AS SELECT 1 AS id")
    found = (await preflown.target())["target table"]
    assert found.verdict is Verdict.FAILED
    assert "is not a table" in found.message
