"""What the extractor's events add up to is the source's content: promises L and O at the extractor's end."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest
from tests.integration.extractor.conftest import Bench

from qupersync_extractor.application.running import RunHooks
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_local.standin.faults import drop_connection
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.kernel.errors import ConfigurationError, LeaseLostError, PageRefusedError, QupersyncError
from qupersync_shared.kernel.ids import PipelineName

pytestmark = pytest.mark.integration

ROWS = """INSERT INTO {t} SELECT i, 'row ' || i, TIMESTAMP '2026-01-01' + (i / 40) * INTERVAL '1 second'
          FROM generate_series($1::int, $2::int) AS i"""
NOW = "(now() AT TIME ZONE 'UTC')"


async def test_a_snapshot_then_changes_are_the_source(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 1050)
    runner = await bench.process()
    report = await runner.run()
    assert report.modes == ["snapshot"] or set(report.modes) == {"snapshot", "incremental"}
    assert bench.folded_ids() == await bench.ids()

    await bench.execute(f"UPDATE {{t}} SET note = 'changed', updated_at = {NOW} WHERE id % 3 = 0")
    await bench.execute(f"INSERT INTO {{t}} SELECT 2000 + i, 'new', {NOW} FROM generate_series(1, 250) AS i")
    report = await runner.run()
    assert report.modes == ["incremental"]
    assert bench.folded_ids() == await bench.ids()

    await bench.execute("DELETE FROM {t} WHERE id % 7 = 0")
    await runner.run(forced=ForcedMode.SNAPSHOT)
    assert bench.folded_ids() == await bench.ids()


async def test_an_empty_table_is_a_snapshot_of_one_page(bench: Bench) -> None:
    runner = await bench.process()
    await runner.run()
    assert [(e.snapshot_first, e.snapshot_last, e.row_count) for e in bench.fold.envelopes[:3]] == [(True, True, 0)] * 3


async def test_more_ties_on_one_cursor_value_than_a_page_holds(bench: Bench) -> None:
    runner = await bench.process()
    await runner.run()
    await bench.execute(f"INSERT INTO {{t}} SELECT i, 'tied', {NOW} FROM generate_series(1, 2000) AS i")
    report = await runner.run()
    assert report.pages >= 20
    assert report.rows == 2000
    assert bench.folded_ids() == await bench.ids()
    sent = sum(e.row_count for e in bench.fold.envelopes)
    await runner.run()
    again = sum(e.row_count for e in bench.fold.envelopes)
    assert again == sent, "the next run reads none of them again"


@pytest.mark.parametrize("visible", [True, False], ids=["writer visible", "writer hidden"])
async def test_a_late_commit_within_the_lookback_is_not_lost(bench: Bench, visible: bool) -> None:
    await bench.execute(ROWS, 1, 50)
    runner = await bench.process(lookback=timedelta(seconds=2))
    await runner.run()
    if not visible:
        await bench.execute("REVOKE syslog_access_unrestricted FROM qupersync_sync")
    writer = await asyncpg.connect(bench.stack.describe()["source_postgresql"]["dsn"])
    try:
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute(f"INSERT INTO bench.{bench.table} VALUES (777, 'late', {NOW})")
        await bench.execute(f"INSERT INTO {{t}} SELECT 1000 + i, 'meanwhile', {NOW} FROM generate_series(1, 120) AS i")
        await runner.run()
        assert 777 not in bench.folded_ids()
        await transaction.commit()
    finally:
        await writer.close()
        if not visible:
            await bench.execute("GRANT syslog_access_unrestricted TO qupersync_sync")
    deadline = asyncio.get_running_loop().time() + 20
    while bench.folded_ids() != await bench.ids():
        assert asyncio.get_running_loop().time() < deadline, "no sweep met the row"
        await runner.run()


async def test_rows_without_cursor_come_by_snapshot_and_rows_without_key_never(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 20)
    runner = await bench.process()
    await runner.run()
    await bench.execute("INSERT INTO {t} VALUES (100, 'no cursor', NULL), (NULL, 'no key', now())")
    await runner.run()
    assert 100 not in bench.folded_ids()
    await runner.run(forced=ForcedMode.SNAPSHOT)
    assert bench.folded_ids() == await bench.ids()
    assert 100 in bench.folded_ids()


async def test_duplicate_keys_are_reduced_to_the_last_by_cursor(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 300)
    await bench.execute("INSERT INTO {t} SELECT id, 'older', TIMESTAMP '2020-01-01' FROM {t} WHERE id % 2 = 0")
    await bench.execute(
        "INSERT INTO {t} SELECT 100, 'last ' || i, TIMESTAMP '2026-02-01' FROM generate_series(1, 9) AS i"
    )
    runner = await bench.process(page_rows=7)
    report = await runner.run()
    assert report.duplicates > 150
    rows = bench.folded_ids()
    assert set(rows) == set(range(1, 301))
    assert rows[100] == "last 9"
    assert rows[98] == "row 98"


async def test_a_broken_read_loses_nothing_and_the_snapshot_goes_on(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 1000)
    runner = await bench.process(page_rows=150)
    bench.stack.faults.add(drop_connection(bench.table, after_rows=70, times=1, skip=3))
    with pytest.raises(QupersyncError):
        await runner.run()
    await runner.collect()
    broken_off = len(bench.fold.envelopes)
    snapshot = bench.fold.envelopes[-1].snapshot_id
    assert 0 < len(bench.folded_ids()) < 1000
    await runner.run()
    assert bench.folded_ids() == await bench.ids()
    assert bench.fold.envelopes[broken_off].snapshot_id == snapshot
    assert sum(e.snapshot_first for e in bench.fold.envelopes) == 3, "one first page, in three lanes"


async def test_freshness_goes_on_between_the_pages_of_a_snapshot(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 500)
    runner = await bench.process()
    await runner.run()
    await bench.execute(f"UPDATE {{t}} SET note = 'fresh', updated_at = {NOW} WHERE id = 499")
    due = iter([True])
    start = len(bench.fold.envelopes)
    await runner.run(forced=ForcedMode.SNAPSHOT, incremental_due=lambda: next(due, False))
    modes = [e.mode for e in bench.fold.envelopes[start:] if e.lane == 0]
    assert modes[0] is Mode.SNAPSHOT
    assert modes[1] is Mode.INCREMENTAL
    assert Mode.SNAPSHOT in modes[2:]
    assert bench.folded_ids() == await bench.ids()


async def test_wide_rows_are_cut_into_events_that_fit(bench: Bench) -> None:
    await bench.execute(
        """INSERT INTO {t}
           SELECT i, (SELECT string_agg(md5(random()::text || j || i), '') FROM generate_series(1, 1500) AS j),
                  TIMESTAMP '2026-01-01'
           FROM generate_series(1, 100) AS i"""
    )
    runner = await bench.process(lanes=1)
    await runner.run()
    assert bench.folded_ids() == await bench.ids()
    assert len(bench.fold.envelopes) > 3


async def test_two_extractors_never_extract_one_pipeline_at_once(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 600)
    one, other = await bench.process(), await bench.process()
    reports = await asyncio.gather(one.use.run(), other.use.run())
    assert sorted(report.leased_elsewhere for report in reports) == [False, True]
    await one.collect()
    assert bench.folded_ids() == await bench.ids()


async def test_a_process_that_lost_its_lease_cannot_commit(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 600)
    runner = await bench.process()
    name = PipelineName(bench.table)
    pages = 0

    def stolen_after_a_page() -> bool:
        nonlocal pages
        pages += 1
        if pages == 2:
            asyncio.get_running_loop().create_task(runner.shop.stores.registry.reset(name, lanes=3, reason="stolen"))
        return False

    with pytest.raises(LeaseLostError):
        await runner.use.run(hooks=RunHooks(incremental_due=stolen_after_a_page))
    registration = await runner.shop.stores.registry.get(name)
    assert registration is not None
    assert (registration.state.log, registration.state.sequence) == (2, 0)


async def test_a_restored_extractor_database_opens_a_greater_log(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 150)
    runner = await bench.process()
    await runner.run()
    name = PipelineName(bench.table)
    before = await runner.shop.stores.registry.get(name)
    assert before is not None
    await bench.execute(ROWS, 151, 400)
    await runner.run(forced=ForcedMode.SNAPSHOT)
    await _relay_everything(runner)
    token = await runner.shop.stores.registry.acquire(name, "restore", 1)
    assert token is not None
    async with runner.shop.stores.unit_of_work() as work:
        await work.extractions.lock(name, token)
        await work.extractions.save(before.state)
        await work.commit()
    await runner.shop.stores.registry.release(name, token)
    bench.fold.rows.clear()
    await runner.run()
    after = await runner.shop.stores.registry.get(name)
    assert after is not None
    assert after.state.log == before.state.log + 1
    assert bench.folded_ids() == await bench.ids()


async def test_a_new_column_is_answered_with_a_snapshot(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 50)
    runner = await bench.process()
    await runner.run()
    await bench.execute("ALTER TABLE {t} ADD COLUMN extra integer DEFAULT 5")
    report = await runner.run()
    assert report.modes[0] == "snapshot"
    assert {row["extra"] for row in bench.fold.rows.values()} == {5}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key": ["nothing"]}, "key column 'nothing' is not among the columns"),
        ({"cursor": "nothing"}, "cursor column 'nothing' is not among the columns"),
        ({"cursor": "note"}, "cursor column 'note' is of type varchar"),
    ],
)
async def test_a_pipeline_that_does_not_fit_its_source_is_refused(bench: Bench, options: dict, words: str) -> None:
    runner = await bench.process(**options)
    with pytest.raises(ConfigurationError, match=words):
        await runner.run()


async def test_keys_whose_order_differs_between_engines_are_refused(bench: Bench) -> None:
    await bench.execute("ALTER TABLE {t} ADD COLUMN code varchar(20)")
    await bench.execute(
        "INSERT INTO {t} VALUES (1, 'a', now(), 'a'), (2, 'b', now(), 'a' || chr(1)), (3, 'c', now(), 'a ')"
    )
    runner = await bench.process(key=["code"], cursor=None)
    with pytest.raises(PageRefusedError, match="order keys differently"):
        await runner.run()


async def _relay_everything(runner: object) -> None:
    from qupersync_extractor.application.relay import LaneRelay

    shop = runner.shop  # type: ignore[attr-defined]
    name = shop.settings.pipelines[0].name
    for cursor in await shop.stores.cursors.claim(name, "test", 30):
        relay = LaneRelay(
            pipeline=name,
            cursor=cursor,
            owner="test",
            outbox=shop.stores.outbox,
            cursors=shop.stores.cursors,
            stream=shop.stream,
        )
        while not (await relay.publish_some()).idle:
            pass
