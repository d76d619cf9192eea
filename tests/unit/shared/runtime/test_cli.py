"""The `qupersync` command: exit codes, words, seams for plugins."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from qupersync_shared.kernel.errors import ConfigurationError, DatabaseUnavailableError
from qupersync_shared.runtime import plugins as plugins_module
from qupersync_shared.runtime.cli import build_app
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import ConfigOption
from qupersync_shared.runtime.plugins import (
    BrokenPlugin,
    CheckRow,
    Command,
    Plugin,
    Plugins,
    StatusPart,
    Verdict,
    discover,
)
from qupersync_shared.runtime.preflight import Preflight
from qupersync_shared.runtime.settings import Configuration

CONFIGURATION = """\
outbox: {dsn: "postgresql://u:hush@localhost/qupersync"}
nats: {servers: ["nats://u:hush@127.0.0.1:1"]}
pipelines:
  cost: {from: billing.cost, into: public.cost, key: [id], snapshot_every: null}
"""
HINT = " (a defect, or something unforeseen: --debug shows where)"
Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in a directory of its own with a valid configuration and the given plugins."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("QUPERSYNC_")]:
        monkeypatch.delenv(variable)
    (tmp_path / "qupersync.yaml").write_text(CONFIGURATION)

    def invoke(*arguments: str, plugins: Plugins | None = None) -> Result:
        return CliRunner().invoke(build_app(plugins or Plugins()), list(arguments))

    return invoke


def plugin(name: str = "fake", **parts: Any) -> Plugins:
    return Plugins(whole=(Plugin(name=name, **parts),))


# ------------------------------------------------------------------------------------------------------- init and show


def test_init_writes_a_file_that_loads_and_does_not_overwrite(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    assert run("init", str(path)).exit_code == 0
    assert run("--config", str(path), "config", "show").exit_code == 0

    path.write_text("mine")
    refused = run("init", str(path))
    assert isinstance(refused.exception, ConfigurationError)
    assert "--force" in refused.exception.cure
    assert path.read_text() == "mine"

    assert run("init", "--force", str(path)).exit_code == 0
    assert path.read_text().startswith("# qupersync")


def test_init_says_why_it_cannot_write(run: Run, tmp_path: Path) -> None:
    refused = run("init", str(tmp_path / "none" / "a.yaml"))
    assert isinstance(refused.exception, ConfigurationError)
    assert "No such file or directory" in refused.exception.message


def test_config_show_masks_secrets_and_can_be_loaded_again(run: Run, tmp_path: Path) -> None:
    shown = run("config", "show")
    assert shown.exit_code == 0
    assert "hush" not in shown.output
    assert "postgresql://u:***@localhost/qupersync" in shown.output
    again = tmp_path / "again.yaml"
    again.write_text(shown.output)
    assert run("config", "show", "--config", str(again)).output == shown.output
    assert "snapshot_every: null" in shown.output

    as_json = json.loads(run("config", "show", "--json").output)
    assert as_json["pipelines"]["cost"]["lanes"] == 4


# --------------------------------------------------------------------------------------------------------------- check


async def good_checks(_: Preflight) -> list[CheckRow]:
    return [CheckRow(area="target", subject="rights", verdict=Verdict.OK, message="CREATE and TEMP")]


async def bad_checks(_: Preflight) -> list[CheckRow]:
    return [CheckRow(area="target", subject="rights", verdict=Verdict.FAILED, message="no CREATE", cure="GRANT it")]


async def broken_checks(_: Preflight) -> list[CheckRow]:
    raise DatabaseUnavailableError("no answer from db", cure="Start it")


def without_nats(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["area"] not in {"nats", "configuration"}]


def test_check_shows_failures_with_their_cure_and_ends_with_one(run: Run) -> None:
    result = run("check", plugins=plugin(checks=bad_checks))
    assert result.exit_code == 1
    assert "no CREATE" in result.output
    assert "GRANT it" in result.output
    assert "checks did not pass" in result.output
    assert "\x1b[" not in result.output, "no colours when piped"


def test_check_as_json(run: Run) -> None:
    result = run("check", "--json", plugins=plugin(checks=good_checks))
    document = json.loads(result.output)
    assert not document["ok"], "NATS is not there"
    assert without_nats(document["rows"]) == [
        {"area": "target", "subject": "rights", "verdict": "ok", "message": "CREATE and TEMP", "cure": None}
    ]
    [nats] = [row for row in document["rows"] if row["area"] == "nats"]
    assert nats["verdict"] == "failed"
    assert "does not answer" in nats["message"]
    assert "hush" not in result.output


def test_a_check_that_breaks_is_unknown_and_never_green(run: Run) -> None:
    result = run("check", "--json", plugins=plugin("target", checks=broken_checks))
    [row] = without_nats(json.loads(result.output)["rows"])
    assert (row["verdict"], row["message"], row["cure"]) == ("unknown", "target: no answer from db", "Start it")
    assert result.exit_code == 1


def test_check_with_a_bad_configuration_ends_with_two(run: Run, tmp_path: Path) -> None:
    (tmp_path / "qupersync.yaml").write_text("pipelines: {cost: {into: a.b, from: c.d}}\n")
    plain = run("check")
    assert isinstance(plain.exception, ConfigurationError)
    result = run("check", "--json")
    assert result.exit_code == 2
    document = json.loads(result.output)
    assert not document["ok"]
    assert document["rows"][0]["message"] == "pipelines.cost.key is missing"
    assert document["rows"][0]["subject"].endswith("qupersync.yaml:1")


# -------------------------------------------------------------------------------------------------------------- status


def status(run: Run, plugins: Plugins) -> tuple[dict[str, Any], int]:
    result = run("status", "--json", plugins=plugins)
    return json.loads(result.output), result.exit_code


async def live_status(_: Configuration) -> StatusPart:
    return StatusPart(
        pipelines={"cost": {"state": "live", "lag": {"source_seconds": 2.0}, "extraction": {"log": 1, "sequence": 7}}},
        sections={"outbox": {"records": 0}},
    )


async def failing_status(_: Configuration) -> StatusPart:
    raise DatabaseUnavailableError("connection to postgresql://u:hush@db refused", cure="Start it")


def test_status_gives_reasons_for_failed_probes_and_what_the_others_know(run: Run) -> None:
    parts = Plugins(
        whole=(
            Plugin(name="extractor", status=live_status),
            Plugin(name="loader", status=failing_status),
        ),
        broken=(BrokenPlugin(name="local", reason="ImportError: no module"),),
    )
    document, code = status(run, parts)
    assert code == 1
    assert "loader: connection to postgresql://u:***@db refused" in document["reasons"]
    assert "local: its plugin cannot be loaded (ImportError: no module)" in document["reasons"]
    assert any(
        reason.startswith("nats: NATS at nats://u:***@127.0.0.1:1 does not answer") for reason in document["reasons"]
    )
    assert document["reason"] == "; ".join(document["reasons"])
    assert {name: probe["verdict"] for name, probe in document["probes"].items()} == {
        "nats": "unknown",
        "extractor": "ok",
        "loader": "unknown",
    }
    cost = document["pipelines"]["cost"]
    assert (cost["state"], cost["lag"]["source_seconds"], cost["extraction"]["sequence"]) == ("live", 2.0, 7)
    assert document["outbox"] == {"records": 0}
    assert "hush" not in json.dumps(document)


def test_a_probe_that_hangs_costs_three_seconds_and_is_named(run: Run) -> None:
    async def hanging(_: Configuration) -> StatusPart:
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:  # a driver that swallows it
                await asyncio.sleep(0.2)
                raise

    began = time.monotonic()
    document, _ = status(run, plugin("target", status=hanging))
    assert time.monotonic() - began < 7
    assert "target: no answer within 3 s" in document["reasons"]


def test_a_thread_that_hangs_does_not_keep_the_command(tmp_path: Path) -> None:
    (tmp_path / "qupersync.yaml").write_text(CONFIGURATION)
    script = """
import asyncio, time
from qupersync_shared.runtime.cli import build_app, guarded
from qupersync_shared.runtime.plugins import Plugin, Plugins
async def hanging(_):
    await asyncio.to_thread(time.sleep, 600)
app = build_app(Plugins(whole=(Plugin(name="source", status=hanging),)))
guarded(lambda: app(["status", "--json"]))
"""
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert time.monotonic() - began < 10
    assert ended.returncode == 1
    assert "source: no answer within 3 s" in json.loads(ended.stdout)["reasons"]


def test_status_with_a_bad_configuration_still_is_a_document(run: Run, tmp_path: Path) -> None:
    (tmp_path / "qupersync.yaml").write_text("nats: [\n")
    result = run("status", "--json")
    assert result.exit_code == 2
    assert json.loads(result.output)["reason"].startswith("configuration: qupersync.yaml:2: not YAML")


def test_status_for_people_begins_with_the_verdict(run: Run) -> None:
    result = run("status", plugins=plugin(status=live_status))
    assert result.exit_code == 1
    first, second, *_ = result.output.splitlines()
    assert first.startswith("something is wrong, as of ")
    assert second.startswith("  nats: NATS at ")
    assert "cost" in result.output
    assert "\x1b[" not in result.output


def test_watching_goes_on_until_interrupted(tmp_path: Path) -> None:
    (tmp_path / "qupersync.yaml").write_text(CONFIGURATION)
    start = [sys.executable, "-c", "from qupersync_shared.runtime.cli import main; main()"]
    with subprocess.Popen(
        [*start, "status", "--json", "--watch"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        documents = [json.loads(running.stdout.readline()) for _ in range(2)]
        running.send_signal(2)
        running.communicate(timeout=20)
        assert running.returncode == 0
    assert documents[0]["as_of"] < documents[1]["as_of"]


# ------------------------------------------------------------------------------------------------------------- plugins


def show_lanes(context: typer.Context, config: ConfigOption = None) -> None:
    """Show how many lanes there are.

    More of it.
    """
    typer.echo(configuration(context, config).pipelines["cost"].lanes)


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> Command:
    """A command of a plugin; its body stands in a module of its own."""
    module = ModuleType("lanes_of_a_plugin")
    module.show_lanes = show_lanes  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return Command(
        name="lanes",
        help="Show how many lanes there are.",
        body="lanes_of_a_plugin:show_lanes",
        examples=("qupersync lanes", "qupersync lanes --config other.yaml"),
    )


def test_plugins_add_sub_commands_that_reach_the_configuration(run: Run, lanes: Command, tmp_path: Path) -> None:
    with_it = plugin(commands=[lanes])
    result = run("lanes", plugins=with_it)
    assert (result.exit_code, result.output) == (0, "4\n")
    other = tmp_path / "other.yaml"
    other.write_text(CONFIGURATION.replace("key: [id]", "key: [id], lanes: 7"))
    assert run("lanes", "--config", str(other), plugins=with_it).output == "7\n"
    assert run("--config", str(other), "lanes", plugins=with_it).output == "7\n"


def test_help_of_a_sub_command_has_its_examples_as_they_are(run: Run, lanes: Command) -> None:
    shown = run("lanes", "--help", plugins=plugin(commands=[lanes])).output
    assert "More of it." in shown
    assert "  Examples:\n    qupersync lanes\n    qupersync lanes --config other.yaml\n" in shown


def test_commands_are_listed_without_their_bodies(run: Run) -> None:
    absent = Command(name="absent", help="Do what cannot be imported.", body="no.such.module:nothing")
    listed = run("--help", plugins=plugin(commands=[absent]))
    assert listed.exit_code == 0
    assert "Do what cannot be imported." in listed.output
    assert isinstance(run("absent", plugins=plugin(commands=[absent])).exception, ModuleNotFoundError)


def test_a_plugin_with_a_command_of_another_is_reported_and_the_rest_works(run: Run) -> None:
    again = Command(name="status", help="Another one.", body="no.such.module:nothing")
    broken = plugin("old", commands=[again], status=live_status)
    document, _ = status(run, broken)
    assert "old: its plugin cannot be loaded (ValueError: there are two commands named status)" in document["reasons"]
    assert "old" not in document["probes"]
    rows = json.loads(run("check", "--json", plugins=broken).output)["rows"]
    assert any(row["area"] == "installation" and row["verdict"] == "failed" for row in rows)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["stauts"], "No such command 'stauts'. Did you mean 'status'?"),
        (["groups", "lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["zzzzzz"], "No such command 'zzzzzz'. There are: init, check"),
        (["status", "--jsn"], "No such option: --jsn"),
        (["--nonsense", "status"], "No such option: --nonsense"),
    ],
)
def test_a_wrong_word_is_told_with_the_nearest(run: Run, given: list[str], said: str) -> None:
    result = run(*given)
    assert result.exit_code == 2
    assert said in result.output


def test_discovery_keeps_whole_plugins_and_names_broken_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        def __init__(self, name: str, loaded: object) -> None:
            self.name, self.value, self._loaded = name, f"module:{name}", loaded

        def load(self) -> object:
            if isinstance(self._loaded, Exception):
                raise self._loaded
            return self._loaded

    good = Plugin(name="good")
    points = [Point("odd", object()), Point("good", good), Point("bad", ImportError("no module named x"))]
    monkeypatch.setattr(plugins_module, "entry_points", lambda **_: points)
    found = discover()
    assert found.whole == (good,)
    assert [(broken.name, broken.reason) for broken in found.broken] == [
        ("bad", "ImportError: no module named x"),
        ("odd", "module:odd is not a Plugin"),
    ]


def test_no_thread_is_left_by_these_tests() -> None:
    assert all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate())
