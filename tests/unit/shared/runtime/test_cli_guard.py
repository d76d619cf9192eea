"""How a command ends: exit codes and messages, never a traceback unless asked for one."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import Result

from qupersync_shared.kernel.errors import ConfigurationError, DatabaseUnavailableError
from qupersync_shared.runtime.cli import guard, guarded
from qupersync_shared.runtime.cli.app import _debug_first
from qupersync_shared.runtime.console import print_json
from qupersync_shared.runtime.records import BadCursorError, UnknownFieldError

CONFIGURATION = """\
outbox: {dsn: "postgresql://u:hush@localhost/qupersync"}
nats: {servers: ["nats://u:hush@127.0.0.1:1"]}
pipelines:
  cost: {from: billing.cost, into: public.cost, key: [id], snapshot_every: null}
"""
HINT = " (a defect, or something unforeseen: --debug shows where)"
Run = Callable[..., Result]


# ------------------------------------------------------------------------------------------------------------- guarded


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigurationError("no x", place="a.yaml:3", cure="Add x"), 2, "configuration: a.yaml:3: no x. Add x\n"),
        (DatabaseUnavailableError("no answer", cure="Start it"), 1, "error: no answer. Start it\n"),
        (
            UnknownFieldError("runs cannot be sorted so", cure="Sort otherwise"),
            2,
            "error: runs cannot be sorted so. Sort otherwise\n",
        ),
        (BadCursorError("no such cursor", cure="Begin anew"), 2, "error: no such cursor. Begin anew\n"),
        (ZeroDivisionError("division"), 1, f"error: ZeroDivisionError: division{HINT}\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(7), 7, ""),
        (SystemExit("words"), 1, "words\n"),
        (SystemExit(), 0, ""),
    ],
)
def test_errors_become_exit_codes_and_one_line(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ending:
        guarded(main)
    assert ending.value.code == code
    assert capsys.readouterr() == ("", said)


def test_moments_in_documents_are_written_as_iso_8601(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"at": datetime(2026, 1, 31, 12, tzinfo=UTC), "where": Path("a")})
    assert capsys.readouterr().out == '{"at": "2026-01-31T12:00:00+00:00", "where": "a"}\n'


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (4, 4), ("text", 0)])
def test_what_main_returns_is_the_exit_code(returned: object, code: int) -> None:
    with pytest.raises(SystemExit) as ending:
        guarded(lambda: returned)
    assert ending.value.code == code


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(guard.DEBUG_VARIABLE, "1")

    def main() -> None:
        raise ZeroDivisionError("division")

    with pytest.raises(SystemExit):
        guarded(main)
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.endswith("error: ZeroDivisionError: division\n")


@pytest.mark.parametrize(
    ("given", "sorted_"),
    [
        (["status", "--debug"], ["--debug", "status"]),
        (["status"], ["status"]),
        (["run", "--", "--debug"], ["run", "--", "--debug"]),
    ],
)
def test_debug_may_stand_anywhere(given: list[str], sorted_: list[str]) -> None:
    assert _debug_first(given) == sorted_


def command(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.environ["PATH"], **environ}
    start = [sys.executable, "-c", "from qupersync_shared.runtime.cli import main; main()"]
    return subprocess.run(
        [*start, *arguments], cwd=cwd, env=given, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_real_command_ends_without_tracebacks(tmp_path: Path) -> None:
    version = command("--version", cwd=tmp_path)
    assert (version.returncode, version.stdout.split()[0]) == (0, "qupersync")

    usage = command("nonsense", cwd=tmp_path)
    assert usage.returncode == 2
    assert "No such command 'nonsense'" in usage.stderr

    missing = command("config", "show", cwd=tmp_path)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith("configuration: qupersync.yaml: there is no such file. ")
    assert "Traceback" not in missing.stderr

    debugged = command("config", "show", "--debug", cwd=tmp_path)
    assert debugged.returncode == 2
    assert "Traceback" in debugged.stderr
