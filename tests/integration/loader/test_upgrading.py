"""A target of an earlier version is brought up to date with all it has."""

from importlib.resources import files
from uuid import uuid4

from tests.conformance.loader.conftest import Lanes, PostgresHarness
from tests.conformance.loader.events import Extractor, people

from qupersync_loader.infrastructure.postgres.schema import migrate_target
from qupersync_local.stack import TARGET_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.runtime.database import connect

_LETTER = """
INSERT INTO qupersync_dead_letter
    (group_name, event_id, pipeline, lane, log, sequence, headers, payload, reason, resolved_at, resolution)
VALUES ('main', gen_random_uuid(), 'people', 0, 1, $1, $2::text::jsonb, 'x', 'r', $3::text::timestamptz, $4)
"""


async def test_dead_letters_and_watermarks_of_the_first_version_are_kept(local_stack: ThreadedStack) -> None:
    name = f"loader_{uuid4().hex[:12]}"
    local_stack.create_database(name, owner=TARGET_ROLE)
    dsn = local_stack.stack.dsn(TARGET_ROLE, name)
    connection = await connect(dsn, application_name="test")
    try:
        await connection.execute(
            files("qupersync_loader.infrastructure.postgres")
            .joinpath("migrations/versions/0001_watermarks.sql")
            .read_text(encoding="utf-8")
        )
        await connection.execute("CREATE TABLE qupersync_loader_version (version_num varchar(32) PRIMARY KEY)")
        await connection.execute("INSERT INTO qupersync_loader_version VALUES ('0001')")
        snapshot = str(uuid4())
        headers = f'{{"ce-lanes": "4", "ce-snapshotid": "{snapshot}"}}'
        await connection.execute(_LETTER, 1, headers, None, None)
        await connection.execute(_LETTER, 2, '{"ce-lanes": "4"}', "2024-01-01", "redriven")
        assert await migrate_target(dsn) == ["0002", "0003", "0004", "0005"]
        found = await connection.fetch(
            "SELECT lanes, snapshot_id::text, resolution FROM qupersync_dead_letter ORDER BY sequence"
        )
        assert [tuple(row) for row in found] == [(4, snapshot, None), (4, None, "reread")]
    finally:
        await connection.close()
    harness = PostgresHarness(dsn)
    try:
        lanes, source = Lanes(harness.target), Extractor()
        await lanes.load(source.page(people(1)))
        assert len(await harness.rows(lanes.pipeline)) == 1
    finally:
        await harness.close()
        local_stack.drop_database(name)
