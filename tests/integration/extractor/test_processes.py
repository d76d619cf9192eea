"""Whole processes of the service, in this one: what ends them, with which words, and that nothing holds them."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.extractor.conftest import Bench

from qupersync_extractor.interface import processes
from qupersync_extractor.interface.processes import Parts, run_process
from qupersync_local.standin.faults import Fault, FaultKind
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.errors import ConfigurationError, PageRefusedError, TransientError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.configuration_file import ConfigurationFile
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.settings import Configuration

pytestmark = pytest.mark.integration

ROWS = "INSERT INTO {t} SELECT i, 'x', TIMESTAMP '2026-01-01' FROM generate_series($1::int, $2::int) AS i"
BOTH = Parts(extract=True, relay=True)


def configuration(bench: Bench, pipelines: dict[str, Any] | None = None, **sections: Any) -> Configuration:
    described = bench.stack.describe()
    tree = {
        "source": described["source"],
        "outbox": {"dsn": bench.outbox_dsn},
        "nats": described["nats"],
        "pipelines": pipelines or {bench.table: bench.options},
    }
    return Configuration.model_validate(tree | sections)


async def test_a_hangup_ends_no_process_that_still_waits_for_its_database(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "qupersync.yaml"
    tree = {
        "nats": {"servers": [bench.stack.stack.nats.url]},
        "outbox": {"dsn": "postgresql://nobody@127.0.0.1:1/none"},
        "pipelines": {"waits": {"from": "bench.waits", "into": "public.waits", "key": ["id"]}},
    }
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    file, stop, before = ConfigurationFile(path), Stop(), signal.getsignal(signal.SIGHUP)
    relay = Parts(extract=False, relay=True)
    running = asyncio.create_task(run_process(file.in_force, relay, stop, once=False, path=str(path), file=file))
    async with asyncio.timeout(60):
        while signal.getsignal(signal.SIGHUP) is before:  # noqa: ASYNC110  # a handler has no signal of its own
            await asyncio.sleep(0.02)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0)
        assert not running.done()
        stop.request()
        assert await running == 0
    assert signal.getsignal(signal.SIGHUP) is before


async def test_once_ends_when_everything_is_relayed(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 500)
    code = await run_process(configuration(bench), BOTH, Stop(), once=True, path="qupersync.yaml")
    assert code == 0
    runner = await bench.process()
    assert (await runner.shop.stores.outbox.depth(PipelineName(bench.table))).records == 0
    await runner.collect()
    assert bench.folded_ids() == await bench.ids()


async def test_once_a_bad_table_stops_no_other_and_is_told_at_the_end(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 300)
    bad = f"{bench.table}_bad"
    await bench.execute(f"CREATE TABLE bench.{bad} (code varchar(20), id int)")
    await bench.execute(f"INSERT INTO bench.{bad} VALUES ('a', 1), ('a' || chr(1), 2), ('a ', 3)")
    await bench.execute(f"GRANT SELECT ON bench.{bad} TO PUBLIC")
    pipelines = {
        bad: {"from": f"bench.{bad}", "into": f"public.{bad}", "key": ["code"], "lanes": 1},
        bench.table: bench.options,
    }
    try:
        with pytest.raises(PageRefusedError, match="order keys differently"):
            async with asyncio.timeout(60):
                await run_process(configuration(bench, pipelines), BOTH, Stop(), once=True, path="qupersync.yaml")
    finally:
        await bench.execute(f"DROP TABLE bench.{bad}")
    runner = await bench.process()
    assert (await runner.shop.stores.outbox.depth(PipelineName(bench.table))).records == 0
    await runner.collect()
    assert bench.folded_ids() == await bench.ids()


async def test_once_does_not_wait_for_ever_for_a_stream_that_is_full(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "DRAIN_SECONDS_MAX", 1.0)
    await bench.execute(
        """INSERT INTO {t} SELECT i, (SELECT string_agg(md5(random()::text || j || i), '')
           FROM generate_series(1, 800) AS j), TIMESTAMP '2026-01-01' FROM generate_series(1, 150) AS i"""
    )
    nats = dict(bench.stack.describe()["nats"]) | {"stream_bytes_max": 1 << 20}
    settings = configuration(bench, nats=nats, extractor={"lease": "1s"})
    with pytest.raises(TransientError, match="records of the outbox were not published") as caught:
        async with asyncio.timeout(60):
            await run_process(settings, BOTH, Stop(), once=True, path="qupersync.yaml")
    assert "no room" in caught.value.cure
    runner = await bench.process()
    js = await runner.shop.connection.jetstream()
    await js.delete_stream(stream_name(PipelineName(bench.table)))


async def test_a_stop_ends_the_process_in_the_middle_of_a_read(bench: Bench) -> None:
    await bench.execute(ROWS, 1, 500)
    bench.stack.faults.add(
        Fault(kind=FaultKind.STALL, pattern=rf"{bench.table}.*ORDER BY.*LIMIT\s+\d+$", seconds=600, skip=1)
    )
    stop = Stop()
    running = asyncio.create_task(run_process(configuration(bench), BOTH, stop, once=False, path="qupersync.yaml"))
    runner = await bench.process()
    async with asyncio.timeout(30):
        while True:  # not the outbox's depth: the relay may have published before anybody looks
            begun = await runner.shop.stores.registry.get(PipelineName(bench.table))
            if begun is not None and begun.state.sequence:
                break
            await runner.shop.stores.outbox.wait(0.1)
        stop.request()
        assert await running == 0
    registration = await runner.shop.stores.registry.get(PipelineName(bench.table))
    assert registration is not None
    assert registration.owner is None, "the lease was released"


async def test_a_process_that_reaches_nothing_waits_and_ends_when_asked(bench: Bench) -> None:
    settings = configuration(
        bench,
        outbox={"dsn": "postgresql://x:y@127.0.0.1:1/nowhere"},
        nats={"servers": ["nats://127.0.0.1:1"]},
    )
    stop = Stop()
    running = asyncio.create_task(run_process(settings, BOTH, stop, once=False, path="qupersync.yaml"))
    assert (await asyncio.wait((running,), timeout=1.5))[1] == {running}
    stop.request()
    async with asyncio.timeout(20):
        assert await running == 0


async def test_another_number_of_lanes_in_the_file_ends_nobody(bench: Bench) -> None:
    """The log goes on with the lanes that it has, until somebody resets the pipeline."""
    await bench.execute(ROWS, 1, 100)
    assert await run_process(configuration(bench), BOTH, Stop(), once=True, path="qupersync.yaml") == 0
    await bench.execute(ROWS, 101, 200)
    lanes = bench.options["lanes"]
    changed = configuration(bench, {bench.table: bench.options | {"lanes": lanes + 3}})
    assert await run_process(changed, BOTH, Stop(), once=True, path="qupersync.yaml") == 0
    runner = await bench.process()
    registration = await runner.shop.stores.registry.get(PipelineName(bench.table))
    assert registration is not None
    assert (registration.lanes, registration.state.log) == (lanes, 1)


async def test_a_crontab_that_nobody_can_follow_is_a_configuration_error(bench: Bench) -> None:
    pipelines = {bench.table: bench.options | {"schedule": {"cron": "every day"}}}
    with pytest.raises(ConfigurationError, match=r"qupersync\.yaml: pipelines\..*cron: 'every day' is not a crontab"):
        await run_process(configuration(bench, pipelines), BOTH, Stop(), once=False, path="qupersync.yaml")


async def test_a_configuration_error_ends_the_process_and_names_the_file(bench: Bench) -> None:
    pipelines = {bench.table: bench.options | {"key": ["nothing"]}}
    with pytest.raises(ConfigurationError, match=r"qupersync\.yaml: pipelines\..*key"):
        async with asyncio.timeout(30):
            await run_process(configuration(bench, pipelines), BOTH, Stop(), once=False, path="qupersync.yaml")
