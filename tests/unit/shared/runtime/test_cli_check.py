"""`qupersync check` and `sample`: choosing pipelines and bounds, what services tell each other, words and codes."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.cli import build_app
from qupersync_shared.runtime.cli.sample import cell, chosen
from qupersync_shared.runtime.plugins import CheckRow, Plugin, Plugins, Verdict
from qupersync_shared.runtime.preflight import FULL, ORDINARY, Preflight, SchemaBoard
from qupersync_shared.runtime.sampling import Sample, Sampler
from qupersync_shared.runtime.settings import Configuration

CONFIGURATION = """\
outbox: {dsn: "postgresql://u:hush@localhost/qupersync"}
nats: {servers: ["nats://127.0.0.1:1"]}
pipelines:
  cost: {from: billing.cost, into: public.cost, key: [id]}
  calls: {from: billing.calls, into: public.calls, key: [id]}
"""
SCHEMA = RowSchema(columns=(Column("id", LogicalType(Kind.BIGINT)),), key=("id",))
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qupersync.yaml").write_text(CONFIGURATION)

    def invoke(*arguments: str, plugins: Plugins) -> Result:
        return CliRunner().invoke(build_app(plugins), list(arguments))

    return invoke


def installed(*plugins: dict[str, Any]) -> Plugins:
    return Plugins(whole=tuple(Plugin(**parts) for parts in plugins))


def row(area: str, verdict: Verdict, **parts: Any) -> CheckRow:
    return CheckRow(area=area, subject="key", verdict=verdict, **{"message": "m", **parts})


# ------------------------------------------------------------------------------------------------------------ checking


@pytest.mark.parametrize(
    ("arguments", "names", "full"),
    [
        ((), ["cost", "calls"], False),
        (("calls",), ["calls"], False),
        (("--pipeline", "cost", "--full"), ["cost"], True),
        (("calls", "-p", "cost"), ["cost", "calls"], False),
    ],
)
def test_only_the_chosen_pipelines_are_looked_at(
    run: Run, arguments: tuple[str, ...], names: list[str], full: bool
) -> None:
    seen: list[Preflight] = []

    async def checks(preflight: Preflight) -> list[CheckRow]:
        seen.append(preflight)
        return []

    run("check", *arguments, plugins=installed({"name": "fake", "checks": checks}))
    [preflight] = seen
    assert list(preflight.configuration.pipelines) == names
    assert preflight.bounds == (FULL if full else ORDINARY)


def test_a_pipeline_that_is_not_there_is_a_wrong_configuration(run: Run) -> None:
    plain = run("check", "costs", plugins=Plugins())
    assert isinstance(plain.exception, ConfigurationError)
    assert "cost" in plain.exception.cure
    told = run("check", "costs", "--json", plugins=Plugins())
    assert told.exit_code == 2
    assert json.loads(told.output)["rows"][0]["message"] == "there is no pipeline 'costs'"


def test_servers_come_first_and_a_pipelines_rows_stand_together(run: Run) -> None:
    async def one(_: Preflight) -> list[CheckRow]:
        return [row("cost", Verdict.OK), row("calls", Verdict.OK)]

    async def other(_: Preflight) -> list[CheckRow]:
        return [row("target", Verdict.OK), row("cost", Verdict.WARNING, cure="Mend it\nnow"), row("calls", Verdict.OK)]

    plugins = installed({"name": "one", "checks": one}, {"name": "other", "checks": other})
    document = json.loads(run("check", "--json", plugins=plugins).output)
    areas = ["configuration", "nats", "target", "cost", "cost", "calls", "calls"]
    assert [found["area"] for found in document["rows"]] == areas
    assert document["verdicts"] == {"ok": 5, "warning": 1, "failed": 1, "unknown": 0}
    lines = run("check", plugins=plugins).output.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("warning")]
    assert lines[at + 1] == "         -> Mend it now"
    assert lines[-1] == "1 of 7 checks did not pass, 1 with a warning"


def test_one_service_tells_the_columns_that_another_waits_for(run: Run) -> None:
    async def source(preflight: Preflight) -> list[CheckRow]:
        preflight.schemas.tell("cost", SCHEMA)
        return []  # of calls nothing can be told

    async def target(preflight: Preflight) -> list[CheckRow]:
        told = [await preflight.schemas.schema(name, seconds=60) for name in ("cost", "calls")]
        return [row("target", Verdict.OK, message=str([schema == SCHEMA for schema in told]))]

    waiting = {"name": "a", "checks": target}
    both = installed(waiting, {"name": "b", "checks": source, "tells_schemas": True})
    assert "[True, False]" in run("check", plugins=both).output
    assert "[False, False]" in run("check", plugins=installed(waiting)).output


async def test_a_board_that_nobody_writes_on_is_waited_for_no_longer_than_asked() -> None:
    board = SchemaBoard()
    assert await board.schema("cost", seconds=0.01) is None
    asking = asyncio.create_task(board.schema("cost", seconds=60))
    await asyncio.sleep(0)
    board.tell("cost", SCHEMA)
    assert await asking == SCHEMA
    assert await board.schema("cost", seconds=60) == SCHEMA


# ------------------------------------------------------------------------------------------------------------ sampling


async def some(_: Configuration, pipeline: str, rows: int) -> Sample:
    return Sample(
        relation=f"billing.{pipeline}",
        key=["id"],
        columns=[("id", "bigint"), ("body", "varchar")],
        rows=[{"id": n, "body": "y" * 70, "twice": 2 * n} for n in range(rows)],
        derived=["twice"],
    )


SOURCE = {"name": "extractor", "samples": Sampler(side="source", take=some)}
TARGET = {"name": "loader", "samples": Sampler(side="target", take=some)}


def test_the_target_is_shown_where_the_loader_is_installed() -> None:
    assert chosen(installed(SOURCE, TARGET), None).side == "target"
    assert chosen(installed(SOURCE), None).side == "source"
    assert chosen(installed(SOURCE, TARGET), "source").side == "source"
    with pytest.raises(ConfigurationError, match="can read the target"):
        chosen(installed(SOURCE), "target")
    with pytest.raises(ConfigurationError, match="no side"):
        chosen(installed(SOURCE), "middle")


def test_a_sample_for_people_and_for_scripts(run: Run) -> None:
    shown = run("sample", "cost", "-n", "2", plugins=installed(SOURCE))
    assert shown.exit_code == 0
    assert shown.output.splitlines()[0].split() == ["id", "body", "twice*"]
    assert "y" * 59 + "…" in shown.output
    assert shown.output.endswith("2 rows of billing.cost (source); * is computed, not stored\n")
    document = json.loads(run("sample", "cost", "-n", "2", "--json", plugins=installed(SOURCE)).output)
    assert document["derived"] == ["twice"]
    assert document["rows"][1] == {"id": 1, "body": "y" * 70, "twice": 2}


@pytest.mark.parametrize("rows", ["0", "101"])
def test_the_limit_of_a_sample_is_named(run: Run, rows: str) -> None:
    refused = run("sample", "cost", "-n", rows, plugins=installed(SOURCE))
    assert isinstance(refused.exception, ConfigurationError)
    assert "1 to 100" in refused.exception.message


def test_cells() -> None:
    assert [cell(value) for value in (None, True, 7, "a\nb", 1.5)] == ["NULL", "true", "7", "a\\nb", "1.5"]
