"""Rereads over the real source's stand-in, outbox database and NATS: what the target had lost stands there again."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.extractor.conftest import Bench, Runner

from qupersync_extractor.application.commands import reread_of
from qupersync_extractor.domain.rereads import refuse
from qupersync_extractor.interface.processes import Parts, Process
from qupersync_extractor.interface.quarantine import SourceQuarantineStore
from qupersync_local.standin.faults import drop_connection
from qupersync_shared.contracts.commands import Accepted, CursorSpan, KeySpan, RereadRequest
from qupersync_shared.contracts.envelope import BatchEnvelope, Mode
from qupersync_shared.contracts.subjects import COMMAND_REREAD
from qupersync_shared.kernel.errors import QupersyncError, StreamUnavailableError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.kernel.positions import Scalar, ScalarKind, encode_key, encode_position
from qupersync_shared.runtime.commands import ask
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.quarantine import Unread
from qupersync_shared.runtime.records import Query, whoever

pytestmark = pytest.mark.integration

ROWS = """INSERT INTO {t} SELECT i, 'row ' || i, TIMESTAMP '2026-01-01' + i * INTERVAL '1 second'
          FROM generate_series($1::int, $2::int) AS i"""
NOW = "(now() AT TIME ZONE 'UTC')"


def encoded(number: int) -> str:
    return encode_key((Scalar(ScalarKind.INT, str(number)),))


def request(bench: Bench, **content: Any) -> RereadRequest:
    return RereadRequest(id=uuid4(), group="main", pipeline=bench.table, reason="a test", **content)


async def reread(runner: Runner, *requests: RereadRequest) -> None:
    """Asks, and lets the extractor read until nothing is left."""
    for one in requests:
        assert await runner.shop.stores.rereads.request(reread_of(one))
    while (await runner.use.reread()).rereads_left:
        continue
    await runner.collect()


async def done(runner: Runner, asked: UUID) -> Any:
    return await runner.shop.stores.rereads.get(asked)


def forget(bench: Bench, ids: range) -> None:
    """The target lost rows, and has some that the source never had."""
    for key in [key for key in bench.fold.rows if int(key[0].text) in ids]:
        del bench.fold.rows[key]


async def test_many_keys_are_read_again_and_lost_ones_are_gone(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 900)
    runner = await bench.process(page_rows=2000)
    await runner.run()
    forget(bench, range(100, 700))
    await bench.execute("DELETE FROM {t} WHERE id % 9 = 0")
    asked = request(bench, keys=tuple(encoded(number) for number in range(1, 1001)), redrives=(uuid4(),))
    await reread(runner, asked)
    assert bench.folded_ids() == await bench.ids()
    last = bench.fold.envelopes[-3:]
    assert [event.redrives for event in last] == [asked.redrives] * 3
    assert (await done(runner, asked.id)).refused is None


async def test_a_parked_incremental_page_is_read_again_by_its_span(bench: Bench) -> None:
    runner = await bench.process()
    await runner.run()
    await bench.execute(f"INSERT INTO {{t}} SELECT i, 'new', {NOW} FROM generate_series(1, 450) AS i")
    before = len(bench.fold.envelopes)
    await runner.run()
    pages = {event.sequence: event for event in bench.fold.envelopes[before:]}
    chain = [pages[sequence] for sequence in sorted(pages)]
    assert len(chain) > 3
    assert all(other.after == one.position for one, other in pairwise(chain))
    bench.fold.rows.clear()
    for event in chain:
        assert event.position is not None
        span = CursorSpan(
            after=encode_position(event.after) if event.after is not None else None,
            upto=encode_position(event.position),
        )
        await reread(runner, request(bench, cursor_span=span, redrives=(event.id,)))
    assert bench.folded_ids() == await bench.ids()


@pytest.mark.parametrize(("after", "upto"), [(None, None), (150, 420), (None, 99), (600, None)])
async def test_a_key_span_is_complete_what_is_gone_goes_and_what_lies_beyond_stays(
    bench: Bench, after: int | None, upto: int | None
) -> None:
    await bench.execute(ROWS, 1, 700)
    runner = await bench.process()
    await runner.run()
    await bench.execute("DELETE FROM {t} WHERE id % 5 = 0")
    before = bench.folded_ids()
    span = KeySpan(after=None if after is None else encoded(after), upto=None if upto is None else encoded(upto))
    await reread(runner, request(bench, key_span=span))
    inside = range((after or 0) + 1, (upto or 700) + 1)
    wanted = {id_: note for id_, note in before.items() if id_ not in inside or id_ % 5 != 0}
    assert bench.folded_ids() == wanted


async def test_a_broken_read_is_tried_again_and_nothing_is_left_out(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 700)
    runner = await bench.process()
    await runner.run()
    bench.fold.rows.clear()
    asked = request(bench, key_span=KeySpan())
    bench.stack.faults.add(drop_connection(bench.table, after_rows=70, times=1, skip=4))
    with pytest.raises(QupersyncError):
        await reread(runner, asked)
    await runner.collect()
    assert not (await done(runner, asked.id)).done
    other = await bench.process()  # and the process that began it never comes back
    await reread(other, asked)
    assert bench.folded_ids() == await bench.ids()
    edges = [(event.range_from, event.range_to) for event in bench.fold.envelopes if event.range_complete]
    assert [end for _, end in edges[2:-1:3]] == [start for start, _ in edges[3::3]]


async def test_a_command_is_answered_after_its_commit_and_served_by_the_running_process(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 50)
    runner = await bench.process(schedule={"every": timedelta(hours=1)})
    await runner.run()
    forget(bench, range(1, 50))
    stop, shop = Stop(), runner.shop
    source = shop.source()
    process = Process(shop=shop, parts=Parts(extract=True, relay=False), stop=stop, source=source)
    running = asyncio.create_task(process.run(once=False))
    try:
        client = await shop.connection.client()
        asked = request(bench, keys=tuple(encoded(number) for number in range(1, 51)))
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await ask(client, COMMAND_REREAD, asked, Accepted) == Accepted()
                    break
                except StreamUnavailableError:  # the process is still starting
                    continue
            assert await done(runner, asked.id) is not None
            while not (await done(runner, asked.id)).done:  # noqa: ASYNC110  # the database has no signal for it
                await asyncio.sleep(0.05)
        again = asked.model_copy(update={"id": uuid4()})  # the next scheduled run is an hour away: this wakes it
        assert await ask(client, COMMAND_REREAD, again, Accepted) == Accepted()
        async with asyncio.timeout(60):
            while not (await done(runner, again.id)).done:  # noqa: ASYNC110  # the database has no signal for it
                await asyncio.sleep(0.05)
        unknown = asked.model_copy(update={"pipeline": "unknown", "id": uuid4()})
        with pytest.raises(StreamUnavailableError):
            await ask(client, COMMAND_REREAD, unknown, Accepted, timeout=1)
    finally:
        stop.request()
        await running
        await source.close()
    await runner.collect()
    assert bench.folded_ids() == await bench.ids()
    runs = (await shop.stores.runs.page(Query(filters={"pipeline": bench.table}))).items
    assert any(run.mode == "reread" and run.cause == "request" for run in runs)


async def test_a_withheld_row_is_listed_redriven_and_settled(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 5)
    # Text that hardly compresses, beyond what an event of the server holds.
    large = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1800) AS i)"
    await bench.execute(f"UPDATE {{t}} SET note = {large} WHERE id = 3")
    runner = await bench.process()
    runner.use._reader._event_bytes_max = 20_000
    await runner.run()
    shop = runner.shop
    store = SourceQuarantineStore(shop.stores.withheld, shop.stores.rereads, shop.stores.actions)
    page = await store.list(pipelines=[bench.table], resolved=False, after=None, limit=10)
    (row,) = page.rows
    assert (row.key, page.more, row.resolution) == (encoded(3), 0, None)

    assert await store.redrive([row.id, "unknown"]) == [row.id]
    await reread(runner)
    (row,) = await store.show([row.id])
    assert (row.resolution, row.times) == (None, 2), "as large as before"

    await bench.execute("UPDATE {t} SET note = 'short' WHERE id = 3")
    assert await store.redrive([row.id]) == [row.id]
    await reread(runner)
    (row,) = await store.show([row.id])
    assert row.resolution == "sent"
    assert bench.folded_ids() == await bench.ids()
    assert await store.redrive([row.id]) == []
    assert await store.discard([row.id]) == []
    done = (await shop.stores.actions.page(Query(filters={"pipeline": bench.table}))).items
    assert [(one.action.value, one.details["ids"], one.by) for one in done] == [("redrive", [row.id], whoever())] * 2
    envelopes: list[BatchEnvelope] = bench.fold.envelopes
    assert envelopes[-1].mode is Mode.REREAD


async def test_a_withheld_row_that_cannot_be_read_again_says_why(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 5)
    large = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1800) AS i)"
    await bench.execute(f"UPDATE {{t}} SET note = {large} WHERE id = 3")
    runner = await bench.process()
    runner.use._reader._event_bytes_max = 20_000
    await runner.run()
    kept = runner.shop.stores
    store = SourceQuarantineStore(kept.withheld, kept.rereads, kept.actions)
    (row,) = (await store.list(pipelines=[bench.table], resolved=False, after=None, limit=10)).rows
    await store.redrive([row.id])
    assert await store.unread() == {}
    async with runner.shop.stores.unit_of_work() as work:
        (waiting,) = await work.rereads.waiting(PipelineName(bench.table))
        await work.rereads.save([refuse(waiting, "column 'id' is gone")])
        await work.commit()
    assert await store.unread() == {row.id: Unread(reason="column 'id' is gone", final=True)}
