"""Loader processes over a real stream and a real target: order, sharing, gaps, crashes, outages, ends."""

import json
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.conformance.loader.conftest import PostgresHarness
from tests.conformance.loader.events import people
from tests.integration.loader.world import Proxy, World, eventually, opened

from qupersync_loader.interface.plugin import plugin
from qupersync_local.nats import LocalNats
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.commands import Accepted, ResendReply, ResendStatus
from qupersync_shared.contracts.subjects import COMMAND_RESEND, COMMAND_SNAPSHOT, durable_name, stream_name
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.kernel.ids import GroupName, Lane
from qupersync_shared.runtime.plugins import Verdict
from qupersync_shared.runtime.preflight import Preflight
from qupersync_shared.runtime.settings import Configuration, load


@pytest.fixture
async def world(postgres: PostgresHarness, local_stack: ThreadedStack) -> AsyncIterator[World]:
    async with opened(postgres, local_stack.stack.nats.url) as made:
        yield made


def events_logged(log: Path, event: str) -> int:
    return sum(f'"event":"{event}"' in line for line in log.read_text().splitlines())


# --------------------------------------------------------------------------------------------------------- ordinary


async def test_l_a_drained_run_leaves_the_target_equal_to_the_source(world: World) -> None:
    source, expected = world.source, {i: f"n{i}" for i in range(500)}
    await world.publish(source.page(people(*range(500))))
    for step in range(60):
        await world.publish(source.incremental(people(*range(step, 500, 7), name=f"s{step}_")))
        expected |= {i: f"s{step}_{i}" for i in range(step, 500, 7)}
    process = await world.run_until_drained()
    assert process.exit_code == 0, process.tail()
    assert await world.rows() == expected
    assert await world.sequences() == [61, 61]
    again = await world.run_until_drained("again")
    assert again.exit_code == 0
    ((honest,),) = await world.postgres.fetch("SELECT last_sync_time FROM qupersync_state")
    assert honest == source.clock


async def test_a_drained_run_that_leaves_rows_behind_ends_with_1_and_says_where_to_look(world: World) -> None:
    await world.publish(world.source.page(people(1)))
    assert (await world.run_until_drained("first")).exit_code == 0
    await world.postgres.refuse_names("n2")
    await world.publish(world.source.incremental(people(2, 3)))
    process = await world.run_until_drained("second")
    assert process.exit_code == 1
    assert f"{world.name}: 1 row in quarantine (see `qupersync quarantine list -p {world.name}`)" in process.tail()
    assert await world.rows() == {1: "n1", 3: "n3"}


async def test_a_drained_run_does_not_wait_for_a_lane_that_only_a_person_can_move(
    postgres: PostgresHarness, local_stack: ThreadedStack
) -> None:
    async with opened(postgres, local_stack.stack.nats.url, on_bad_row="halt") as world:
        await world.publish(world.source.page(people(1)))
        await world.run_until_drained("first")
        await postgres.refuse_names("n2")
        await world.publish(world.source.incremental(people(2, 3)))
        process = await world.run_until_drained("second")
        assert process.exit_code == 1
        assert "not loaded:" in process.tail()
        assert "`on_bad_row: halt` holds the lane" in process.tail()


async def test_two_loaders_share_the_lanes(postgres: PostgresHarness, local_stack: ThreadedStack) -> None:
    async with opened(postgres, local_stack.stack.nats.url, lanes=8) as world:
        loaders = [world.loader(f"loader-{i}", "--log-level", "debug") for i in (1, 2)]
        await world.publish(world.source.page(people(*range(400))))
        for step in range(30):
            await world.publish(world.source.incremental(people(*range(400), name=f"s{step}_")))
        for loader in loaders:
            await loader.start()
        await world.applied(31)
        assert await world.rows() == {i: f"s29_{i}" for i in range(400)}
        done = [events_logged(loader.log, "event_applied") for loader in loaders]
        assert sum(done) == 31 * 8
        assert min(done) > 0, done


async def test_one_slot_serves_many_lanes(postgres: PostgresHarness, local_stack: ThreadedStack) -> None:
    async with opened(postgres, local_stack.stack.nats.url, lanes=12, connections=1) as world:
        loader = world.loader()
        await loader.start()
        await world.publish(world.source.page(people(*range(200))))
        for step in range(5):
            await world.publish(world.source.incremental(people(*range(200), name=f"s{step}_")))
        await world.applied(6)
        assert await world.rows() == {i: f"s4_{i}" for i in range(200)}


async def test_a_signal_ends_it_in_order_and_takes_the_heartbeat_back(world: World) -> None:
    loader = world.loader()
    await world.publish(world.source.page(people(1)))
    await loader.start()
    await world.applied(1)

    async def told() -> bool:
        progress = await world.progress()
        return [(p.lane, p.sequence, p.trouble) for p in sorted(progress, key=lambda p: p.lane)] == [
            (0, 1, None),
            (1, 1, None),
        ]

    await eventually(told, "progress of both lanes", services=world.services)
    assert await eventually(world.heartbeats, "a heartbeat")
    assert await loader.stop() == 0, loader.tail()
    assert await world.heartbeats() == []
    assert "Traceback" not in loader.log.read_text()


async def test_a_wrong_configuration_ends_with_2_and_no_traceback(world: World) -> None:
    process = world.services.add("wrong", "qupersync_loader.main", "run", "--pipeline", "nobody")
    await process.start()
    assert await process.wait(30) == 2
    assert "there is no pipeline 'nobody'" in process.tail()
    assert "Traceback" not in process.log.read_text()


async def test_migrate_declares_tables_consumers_and_bucket_and_names_a_missing_stream(world: World) -> None:
    for name in ("one", "two"):
        process = world.services.add(name, "qupersync_loader.main", "migrate")
        await process.start()
        assert await process.wait(30) == 0, process.tail()
    js = world.client.jetstream()
    info = await js.consumer_info(stream_name(world.name), durable_name(GroupName(world.group), world.name, Lane(1)))
    assert (info.config.max_ack_pending, info.config.max_deliver, info.config.ack_wait) == (1, -1, 5)
    await js.delete_stream(stream_name(world.name))
    process = world.services.add("three", "qupersync_loader.main", "migrate", "--wait", "0.5")
    await process.start()
    assert await process.wait(30) == 1
    assert "the stream is missing" in process.tail()
    assert "qupersync-extractor migrate" in process.tail()


# ----------------------------------------------------------------------------------------------------------- losses


async def test_a_gap_is_asked_for_and_filled_by_what_is_resent(world: World) -> None:
    def answer(_: bytes) -> bytes:
        return ResendReply(status=ResendStatus.REWOUND, generation=1).model_dump_json().encode()

    asked = await world.serve(COMMAND_RESEND, answer)
    loader = world.loader()
    await loader.start()
    await world.publish(world.source.page(people(*range(20))))
    pages = [world.source.incremental(people(*range(20), name=f"s{step}_")) for step in range(4)]
    await world.publish([pages[0][0]], [pages[1][0], pages[2][0], pages[3][0]], [pages[2][1], pages[3][1]])
    await eventually(lambda: _value(asked), "a request to resend", services=world.services)
    request = json.loads(asked[0].data)
    assert (request["lane"], request["log"], request["from_sequence"]) == (1, 1, 2)
    await world.publish([page[1] for page in pages], generation=1)
    await world.applied(5)
    assert await world.rows() == {i: f"s3_{i}" for i in range(20)}
    assert len(asked) == 1


async def _value(items: Sequence[object]) -> bool:
    return bool(items)


async def test_a_drained_lane_without_a_baseline_asks_for_a_snapshot(world: World) -> None:
    asked = await world.serve(COMMAND_SNAPSHOT, lambda _: Accepted().model_dump_json().encode())
    loader = world.loader()
    await loader.start()
    await world.publish(world.source.incremental(people(1)))
    await eventually(lambda: _value(asked), "a request for a snapshot", services=world.services)
    request = json.loads(asked[0].data)
    assert request["pipeline"] == world.name
    assert "lanes 0, 1 have nothing to begin with" in request["reason"]
    await world.publish(world.source.page(people(1, 2)))
    await world.applied(2)

    async def silent() -> bool:
        return await world.trouble() == ""

    await eventually(silent, "no trouble any more", services=world.services)
    assert len(asked) == 1


async def test_a_consumer_deleted_under_a_running_loader_is_declared_anew(world: World) -> None:
    loader = world.loader()
    await loader.start()
    await world.publish(world.source.page(people(1)))
    await world.applied(1)
    js = world.client.jetstream()
    for lane in (0, 1):
        await js.delete_consumer(stream_name(world.name), durable_name(GroupName(world.group), world.name, Lane(lane)))
    await world.publish(world.source.incremental(people(2)))
    await world.applied(2)
    assert events_logged(loader.log, "consumer_was_gone") == 2


async def test_a_stream_deleted_and_declared_anew_is_found_again(world: World) -> None:
    loader = world.loader()
    await loader.start()
    await world.publish(world.source.page(people(1)))
    await world.applied(1)
    await world.client.jetstream().delete_stream(stream_name(world.name))

    async def told() -> bool:
        return "stream" in (await world.trouble() or "")

    await eventually(told, "a reason in the heartbeat", services=world.services)
    await world.declare()
    await world.publish(world.source.page(people(1, 2)))
    await world.applied(2)

    async def silent() -> bool:
        return await world.trouble() == ""

    await eventually(silent, "no trouble any more", services=world.services)


# ---------------------------------------------------------------------------------------------------------- crashes


async def test_w_d_a_loader_killed_inside_its_transaction_leaves_nothing_and_another_goes_on(world: World) -> None:
    first, second = world.loader("first"), world.loader("second")
    await first.start()
    await world.publish(world.source.page(people(*range(50))))
    await world.applied(1)
    async with world.postgres.connected() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM qupersync_watermark FOR UPDATE")
        await world.publish(world.source.incremental(people(*range(50), name="x")))

        async def waits() -> bool:
            return bool(
                await world.postgres.value(
                    "SELECT count(*) = 2 FROM pg_stat_activity WHERE application_name = 'qupersync-loader' "
                    "AND wait_event_type = 'Lock' AND datname = current_database()"
                )
            )

        await eventually(waits, "both lanes inside their transactions", services=world.services)
        first.send(signal.SIGKILL)
        await first.wait(10)
        await transaction.rollback()
    assert await world.sequences() == [1, 1]
    assert set((await world.rows()).values()) == {f"n{i}" for i in range(50)}
    await second.start()
    await world.applied(2)
    assert await world.rows() == {i: f"x{i}" for i in range(50)}


async def test_s_a_loader_frozen_past_its_ack_wait_disturbs_nobody(world: World) -> None:
    frozen, other = world.loader("frozen"), world.loader("other")
    await frozen.start()
    await world.publish(world.source.page(people(*range(50))))
    await world.applied(1)
    async with world.postgres.connected() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM qupersync_watermark FOR UPDATE")
        await world.publish(world.source.incremental(people(*range(50), name="x")))

        async def waits() -> bool:
            return bool(
                await world.postgres.value(
                    "SELECT count(*) = 2 FROM pg_stat_activity WHERE application_name = 'qupersync-loader' "
                    "AND wait_event_type = 'Lock' AND datname = current_database()"
                )
            )

        await eventually(waits, "both lanes inside their transactions", services=world.services)
        frozen.send(signal.SIGSTOP)
        await transaction.rollback()
    await other.start()
    await world.publish(world.source.incremental(people(*range(50), name="y")))
    await world.applied(3)
    assert await world.rows() == {i: f"y{i}" for i in range(50)}
    frozen.send(signal.SIGCONT)
    await world.publish(world.source.incremental(people(*range(50), name="z")))
    await world.applied(4)
    assert await world.rows() == {i: f"z{i}" for i in range(50)}


# ---------------------------------------------------------------------------------------------------------- outages


async def test_a_target_that_is_away_is_told_and_parks_nothing(
    postgres: PostgresHarness, local_stack: ThreadedStack
) -> None:
    door = Proxy(postgres.dsn)
    await door.open()
    async with opened(postgres, local_stack.stack.nats.url, dsn=door.dsn) as world:
        loader = world.loader()
        await loader.start()
        await world.publish(world.source.page(people(1)))
        await world.applied(1)
        await door.shut()

        async def told() -> str:
            reason = await world.trouble() or ""
            return reason if "target: " in reason else ""

        reason = await eventually(told, "a reason in the heartbeat", seconds=10, services=world.services)
        assert "cannot be reached" in reason or "connection" in reason
        await world.publish(world.source.incremental(people(2)))
        await door.open()
        await world.applied(2)

        async def silent() -> bool:
            return await world.trouble() == ""

        await eventually(silent, "no trouble any more", seconds=10, services=world.services)
        assert await postgres.letters() == []
        await loader.stop()
        await door.shut()


async def test_nats_absent_at_the_start_and_gone_in_between(postgres: PostgresHarness) -> None:
    async with LocalNats.start() as nats:
        await nats.stop()
        async with opened(postgres, nats.url, connect=False) as world:
            loader = world.loader()
            await loader.start()

            async def said() -> bool:
                return loader.log.exists() and events_logged(loader.log, "stream_unavailable") > 0

            await eventually(said, "a reason in the log", services=world.services)
            assert loader.running
            await nats.run()
            world.client = await world.connection.client()
            await world.declare()
            await world.publish(world.source.page(people(1)))
            await world.applied(1)
            await nats.restart()
            world.client = await eventually(lambda: _client(world), "a connection again")
            await world.publish(world.source.incremental(people(2)))
            await world.applied(2)
            assert await loader.stop() == 0, loader.tail()


async def _client(world: World) -> object:
    try:
        return await world.connection.client()
    except StreamUnavailableError:
        return None


async def test_the_plugins_checks_and_status_tell_of_the_target(world: World) -> None:
    configuration = load(world.services.configuration)
    assert plugin.checks is not None
    assert plugin.status is not None
    rows = await plugin.checks(Preflight(configuration=configuration))
    assert {row.verdict for row in rows} == {Verdict.OK}, rows
    await world.publish(world.source.page(people(1)))
    await world.run_until_drained()
    part = await plugin.status(configuration)
    entry = part.pipelines[world.name]
    assert [(lane["lane"], lane["applied_sequence"]) for lane in entry["lanes"]] == [(0, 1), (1, 1)]
    assert entry["lag"]["freshness_seconds"] > 0
    assert not part.reasons
    away = Configuration.model_validate(
        {
            **configuration.model_dump(mode="python", by_alias=True),
            "target": {"dsn": "postgresql://me@127.0.0.1:1/nothing"},
        }
    )
    (reason,) = (await plugin.status(away)).reasons
    assert reason.startswith("target: ")
    assert [row.verdict for row in await plugin.checks(Preflight(configuration=away))] == [Verdict.FAILED]
