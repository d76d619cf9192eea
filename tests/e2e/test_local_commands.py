"""`qupersync demo` and `qupersync up`, as they are called from a shell."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
import yaml
from tests.e2e.world import PATIENCE_SECONDS, command, eventually

from qupersync_local.compare import compare_tables
from qupersync_local.compare_sides import PostgresSide
from qupersync_local.services import plain_environment

pytestmark = pytest.mark.e2e
COMMAND = ("-c", "from qupersync_shared.runtime.cli import main; main()")


@pytest.mark.timeout(400)
async def test_the_demo_ends_with_equal_tables() -> None:
    answer = await command("qupersync", "demo", "--rows", "2000", seconds_max=380)
    assert answer.code == 0, answer
    last = answer.out.splitlines()[-1]
    match = re.fullmatch(r"source and target are equal: (\d+) rows", last)
    assert match, answer.out
    assert int(match[1]) > 2_000
    assert "\x1b[" not in answer.out


@pytest.mark.timeout(400)
async def test_a_kept_demo_says_how_to_look_and_leaves_nothing_behind() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *COMMAND,
        "demo",
        "--rows",
        "500",
        "--keep",
        stdout=asyncio.subprocess.PIPE,
        env=plain_environment(),
    )
    try:
        assert process.stdout is not None
        said: list[str] = []
        async with asyncio.timeout(300):
            while not said or "Ctrl-C" not in said[-1]:
                line = await process.stdout.readline()
                assert line, said
                said.append(line.decode())
        text = "".join(said)
        match = re.search(r"QUPERSYNC_CONFIG=(\S+) qupersync status", text)
        assert match, text
        assert "source and target are equal" in text
        shown = await command("qupersync", "status", "--json", config=Path(match[1]))
        assert json.loads(shown.out)["pipelines"].keys() == {"cost_usage", "query_history"}
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
        await _assert_nothing_left([str(Path(match[1]).parent)])
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def _up(*arguments: str, directory: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *COMMAND,
        "up",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        cwd=directory,
        env=plain_environment(),
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
        yield process, json.loads(line)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _assert_ends_cleanly(process: asyncio.subprocess.Process, described: dict[str, Any]) -> None:
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
    places = [described["directory"], *([described["logs"]] if "logs" in described else [])]
    await _assert_nothing_left(places)


async def _assert_nothing_left(places: list[str]) -> None:
    """Nothing stays behind. Who sweeps up after a stack ends a moment after it."""

    await eventually(f"something is left in {places}", lambda: asyncio.to_thread(_nothing_left, places))


def _nothing_left(places: list[str]) -> bool:
    return not any(Path(place).exists() for place in places) and not _runs_in(places)


def _runs_in(places: list[str]) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if any(
            place in " ".join([*(process.info["cmdline"] or []), *(process.info["environ"] or {}).values()])
            for place in places
        )
    ]


@pytest.mark.timeout(400)
async def test_ones_own_file_works_against_the_bare_stack(tmp_path: Path) -> None:
    async with _up("--stack-only", "--json", directory=tmp_path) as (process, described):
        connection = await asyncpg.connect(described["source_postgresql"]["dsn"])
        await connection.execute(
            "CREATE TABLE public.orders (order_no varchar(20), total numeric(12, 2), changed_at timestamp);"
            "INSERT INTO public.orders SELECT 'A' || n, n / 4.0, timestamp '2024-01-01' + n * interval '1 minute' "
            "FROM generate_series(1, 500) AS n"
        )
        await connection.close()
        tree = {name: described[name] for name in ("source", "outbox", "nats", "target")}
        tree["pipelines"] = {
            "orders": {"from": "public.orders", "into": "public.orders", "key": ["order_no"], "cursor": "changed_at"}
        }
        (tmp_path / "qupersync.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
        for name, *arguments in (
            ("qupersync-extractor", "migrate"),
            ("qupersync-loader", "migrate"),
            ("qupersync-extractor", "run", "--once"),
            ("qupersync-loader", "run", "--until-drained"),
        ):
            answer = await command(name, *arguments, directory=tmp_path)
            assert answer.code == 0, answer
        compared = await compare_tables(
            PostgresSide(dsn=described["source_postgresql"]["dsn"], table="public.orders"),
            PostgresSide(dsn=described["target"]["dsn"], table="public.orders"),
            key=["order_no"],
        )
        assert compared.same
        assert compared.equal == 500
        await _assert_ends_cleanly(process, described)


@pytest.mark.timeout(400)
async def test_up_runs_the_services_with_ones_own_pipelines(tmp_path: Path) -> None:
    tree = {
        "source": {"kind": "redshift", "host": "cluster.example.com", "database": "dev", "user": "sync"},
        "pipelines": {
            "bills": {
                "from": "billing.cost_usage",
                "into": "public.bills",
                "key": ["id"],
                "cursor": "updated_at",
                "schedule": "continuous",
            }
        },
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    async with _up("--config", "mine.yaml", "--json", "--rows", "700", directory=tmp_path) as (process, described):
        target = await asyncpg.connect(described["target"]["dsn"])

        async def loaded() -> bool:
            try:
                return bool(await target.fetchval("SELECT count(*) FROM public.bills") == 700)
            except asyncpg.UndefinedTableError:
                return False

        await eventually("the rows of the user's own pipeline", loaded, seconds_max=60)
        await target.close()
        shown = await command("qupersync", "status", "--json", config=Path(described["configuration"]))
        assert json.loads(shown.out)["pipelines"].keys() == {"bills"}
        await _assert_ends_cleanly(process, described)


async def test_up_refuses_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("pipelines: {bills: {into: public.bills, kye: [id]}}", encoding="utf-8")
    answer = await command("qupersync", "up", "--config", "mine.yaml", directory=tmp_path)
    assert answer.code == 2
    assert "mine.yaml" in answer.err
    assert "Traceback" not in answer.err
