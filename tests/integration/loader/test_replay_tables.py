"""Tables that replays fill, on PostgreSQL: whose they are, what is left of them, and what they must not touch."""

import asyncio

import pytest
from tests.conformance.loader.asking import MovedClock, NotedCommands
from tests.conformance.loader.conftest import PostgresHarness
from tests.conformance.loader.events import Event, Extractor, delivery, people, pipeline

from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.rebuild.replay import ReplayTable, replayed_into
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.replay_tables import PostgresReplayTables
from qupersync_shared.kernel.errors import ConflictError, QupersyncError
from qupersync_shared.kernel.ids import Lane

_LEFT = """
    SELECT (SELECT count(*) FROM qupersync_pipeline) + (SELECT count(*) FROM qupersync_watermark)
         + (SELECT count(*) FROM qupersync_quarantine) + (SELECT count(*) FROM qupersync_dead_letter)
"""


def _into(table: str = "copy", schema: str = "public") -> TargetPipeline:
    return replayed_into(pipeline(), schema, table, group="main")


async def _fill(postgres: PostgresHarness, table: ReplayTable, *events: Event) -> None:
    apply = ApplyEvent(table.pipeline, NotedCommands(), MovedClock())
    for event in events:
        async with postgres.target.session(table.pipeline) as session:
            await apply(Lane(0), delivery(event), session)


async def _replay(postgres: PostgresHarness, *ids: int, finish: bool = True) -> None:
    async with PostgresReplayTables(postgres.dsn).claim(_into()) as table:
        await table.make_way()
        await _fill(postgres, table, *Extractor().page(people(*ids)))
        if finish:
            await table.finish()


async def _ids(postgres: PostgresHarness, table: str = "copy") -> list[int]:
    return [row["id"] for row in await postgres.fetch(f"SELECT id FROM public.{table} ORDER BY id")]


async def test_a_finished_replay_is_a_table_and_nothing_else(postgres: PostgresHarness) -> None:
    await _replay(postgres, 1, 2)
    assert await _ids(postgres) == [1, 2]
    assert await postgres.value(_LEFT) == 0
    await postgres.execute("CREATE VIEW public.of_copy AS SELECT id FROM public.copy")
    await _replay(postgres, 3)
    assert await _ids(postgres, "of_copy") == [3], "it was emptied, and what hangs on it stays"


async def test_one_that_was_killed_is_emptied_by_the_next(postgres: PostgresHarness) -> None:
    await _replay(postgres, 1, 2, finish=False)
    assert await postgres.value(_LEFT) == 2
    assert await postgres.value("SELECT count(*) FROM qupersync_state") == 0, "it is shown to nobody"
    await _replay(postgres, 3)
    assert await _ids(postgres) == [3]
    assert await postgres.value(_LEFT) == 0


async def test_what_it_did_not_take_is_returned_and_forgotten(postgres: PostgresHarness) -> None:
    await postgres.execute(
        "CREATE TABLE public.copy (id bigint PRIMARY KEY, name text, amount numeric(10, 2), CHECK (id <> 2)); "
        "COMMENT ON TABLE public.copy IS 'mine'"
    )
    async with PostgresReplayTables(postgres.dsn).claim(_into()) as table:
        await table.make_way()
        await _fill(postgres, table, *Extractor().page(people(1, 2, 3)))
        left = await table.finish()
    assert (left.rows, left.events, left.nothing) == (1, 0, False)
    assert "copy_id_check" in left.reasons[0]
    assert await _ids(postgres) == [1, 3]
    assert await postgres.value(_LEFT) == 0
    assert await postgres.value("SELECT obj_description('public.copy'::regclass)") == "mine"


async def test_tables_of_others_are_refused(postgres: PostgresHarness) -> None:
    await postgres.execute("CREATE TABLE public.filled AS SELECT 1 AS id; CREATE VIEW public.seen AS SELECT 1 AS id")
    async with postgres.target.session(pipeline()) as session:
        await ApplyEvent(pipeline(), NotedCommands(), MovedClock())(
            Lane(0), delivery(Extractor().page(people(1))[0]), session
        )
    refused = {
        "filled": "has rows that no replay",
        "seen": "is not a table",
        "people": "is the table of pipeline people",
        "qupersync_watermark": "reserved",
        "_qs_shadow_people": "reserved",
    }
    for name, words in refused.items():
        async with PostgresReplayTables(postgres.dsn).claim(_into(name)) as table:
            with pytest.raises(QupersyncError, match=words):
                await table.make_way()
    assert await _ids(postgres, "people") == [1]
    assert await postgres.value("SELECT count(*) FROM qupersync_watermark") == 1


async def test_two_replays_into_one_table_exclude_each_other(postgres: PostgresHarness) -> None:
    tables = PostgresReplayTables(postgres.dsn)
    async with tables.claim(_into()), tables.claim(_into("other")):
        with pytest.raises(ConflictError, match="another process replays into"):
            async with asyncio.timeout(20), tables.claim(_into()):
                pass
    async with tables.claim(_into()):
        pass
