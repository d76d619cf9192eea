"""The installed command in a shell: what it imports, completes, asks, and how it ends."""

import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
BASH = shutil.which("bash")
CONFIGURATION = """\
outbox: {dsn: "postgresql://u@127.0.0.1:1/qupersync"}
target: {dsn: "postgresql://u@127.0.0.1:1/app"}
nats: {servers: ["nats://127.0.0.1:1"]}
pipelines:
  cost_usage: {from: billing.cost, into: public.cost, key: [id], snapshot_every: null}
  customers: {from: billing.customers, into: public.customers, key: [id], snapshot_every: null}
"""
HEAVY = (
    *("pyarrow", "numpy", "pandas", "sqlalchemy", "alembic", "duckdb", "boto3", "botocore", "redshift_connector"),
    *("faststream", "fastapi", "uvicorn", "apscheduler", "sklearn", "joblib", "asyncpg"),
)
LOOKED_AT = f"""
import atexit, sys
atexit.register(lambda: sys.stderr.write("HEAVY " + ",".join(name for name in {HEAVY!r} if name in sys.modules)))
from qupersync_shared.runtime.cli import main
sys.argv[0] = "qupersync"
main()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "qupersync.yaml").write_text(CONFIGURATION)
    return tmp_path


def environment(**more: str) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QUPERSYNC_")}
    return {**kept, "PATH": f"{BIN}:{os.environ['PATH']}", **more}


def called(place: Path, *arguments: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "qupersync", *arguments],
        cwd=place,
        env=environment(),
        input=typed,
        stdin=subprocess.DEVNULL if typed is None else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def in_bash(place: Path, script: str, **more: str) -> subprocess.CompletedProcess[str]:
    assert BASH is not None
    return subprocess.run(
        [BASH, "--norc", "-c", script],
        cwd=place,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


# ---------------------------------------------------------------------------------------------------- starting quickly


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["init", "new.yaml"],
        ["config", "show"],
        ["completion", "bash"],
        ["rebuild", "--help"],
        ["stauts"],
    ],
)
def test_nothing_heavy_is_imported_where_nothing_heavy_is_done(place: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOKED_AT, *arguments],
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == (2 if arguments == ["stauts"] else 0), done.stderr
    assert done.stderr.rpartition("HEAVY ")[2] == ""


def test_a_status_imports_what_asks_databases_and_no_more() -> None:
    looked = (
        "import sys, qupersync_shared.runtime.cli.status, qupersync_extractor.interface.status,"
        f" qupersync_loader.interface.status; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) == {"sqlalchemy", "asyncpg"}


@pytest.mark.parametrize("program", ["qupersync_extractor", "qupersync_loader"])
def test_the_services_import_nothing_heavy_before_they_begin(program: str) -> None:
    looked = f"import sys, {program}.main; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


def test_processes_import_neither_sources_nor_models_that_nobody_configured() -> None:
    looked = (
        "import sys, qupersync_extractor.interface.processes, qupersync_loader.interface.running;"
        f" print(*(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=True, timeout=60)
    unwanted = {
        "duckdb",
        "boto3",
        "botocore",
        "redshift_connector",
        "sklearn",
        "joblib",
        "pandas",
        "alembic",
        "fastapi",
    }
    assert not unwanted & set(done.stdout.split())


@pytest.mark.parametrize("words", ["qupersync reb", "qupersync pause cost", "qupersync dead-letters list -p c"])
def test_nothing_heavy_is_imported_for_a_completion(place: Path, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOKED_AT],
        cwd=place,
        env=environment(
            _QUPERSYNC_COMPLETE="complete_bash",
            COMP_WORDS="\n".join(words.split()),
            COMP_CWORD=str(len(words.split()) - 1),
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.strip(), done.stderr
    assert done.stderr.rpartition("HEAVY ")[2] == ""


# ---------------------------------------------------------------------------------------------------------- completion


@pytest.mark.skipif(BASH is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["qupersync", "re"], ["resume", "reset", "retire", "rebuild", "replay"]),
        (["qupersync", "pause", ""], ["cost_usage", "customers"]),
        (["qupersync", "rebuild", "cost"], ["cost_usage"]),
        (["qupersync", "quarantine", "list", "--pipeline", "cu"], ["customers"]),
        (["qupersync", "trigger", "--mode", "s"], ["snapshot"]),
        (["qupersync", "rebuild", "--dr"], ["--dry-run"]),
        (["qupersync", "--config", "other.yaml", "pause", ""], ["elsewhere"]),
        (["qupersync", "--config", "broken.yaml", "pause", ""], []),
        (["qupersync", "--config", "nowhere.yaml", "pause", ""], []),
    ],
)
def test_bash_completes_commands_options_and_pipelines(place: Path, words: list[str], offered: list[str]) -> None:
    (place / "other.yaml").write_text(CONFIGURATION.partition("pipelines:")[0] + "pipelines:\n  elsewhere: {}\n")
    (place / "broken.yaml").write_text("pipelines: [\n")
    quoted = " ".join(f"'{word}'" for word in words)
    done = in_bash(
        place,
        f"""
        source <(qupersync completion bash) || exit 9
        complete -p qupersync | grep -q _qupersync_completion || exit 8
        COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}
        _qupersync_completion qupersync
        printf '%s\\n' "${{COMPREPLY[@]}}"
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == offered
    assert done.stderr == ""


def test_ready_made_pipelines_are_completed_too(place: Path) -> None:
    (place / "qupersync.yaml").write_text("include: [redshift_health]\n")
    done = subprocess.run(
        [BIN / "qupersync"],
        cwd=place,
        env=environment(_QUPERSYNC_COMPLETE="complete_bash", COMP_WORDS="qupersync\nverify\nt", COMP_CWORD="2"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.split() == ["table_stats"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(place: Path, shell: str) -> None:
    done = called(place, "completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"complete_{shell}" in done.stdout
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=done.stdout, text=True, check=True, timeout=60)


# -------------------------------------------------------------------------------------------------------------- asking


def test_without_a_terminal_a_question_says_how_to_agree_beforehand(place: Path) -> None:
    done = called(place, "reset", "cost_usage")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no terminal to ask on. Agree with --yes" in done.stderr
    assert "Aborted" not in done.stderr


def test_every_question_may_be_agreed_to_beforehand(place: Path) -> None:
    agreed = called(place, "history", "--purge-older-than", "30d", "--yes")
    assert agreed.returncode == 1, "it goes on, and finds no database"
    assert "the outbox database at " in agreed.stderr
    assert " cannot be reached: " in agreed.stderr


def test_what_is_missing_is_told_with_the_file_that_was_read(place: Path) -> None:
    (place / "other.yaml").write_text("pipelines: {}\n")
    for command in (("history",), ("dead-letters", "list")):
        done = called(place, "-c", "other.yaml", *command)
        assert "other.yaml: nats is missing" in done.stdout + done.stderr


def test_a_wrong_argument_is_no_fault_of_the_configuration(place: Path) -> None:
    assert called(place, "quarantine", "show", "17").stderr.startswith("error: arguments: '17' names no row. ")
    wrong = called(place, "replay", "cost_usage", "--into", "x")
    assert (wrong.returncode, wrong.stderr) == (2, "error: --into: 'x' is no schema and table. Write schema.table\n")


def test_an_answer_may_be_piped_and_no_is_no(place: Path) -> None:
    refused = called(place, "reset", "cost_usage", typed="n\n")
    assert refused.returncode == 1
    assert refused.stderr.endswith("nothing was done\n")
    agreed = called(place, "reset", "cost_usage", "--json", typed="y\n")
    assert agreed.stdout == "", "the question is none of the document"
    assert "the outbox database at " in agreed.stderr
    assert " cannot be reached: " in agreed.stderr


def test_ctrl_c_at_a_question_ends_without_a_word(place: Path) -> None:
    mine, theirs = pty.openpty()
    with subprocess.Popen(
        [BIN / "qupersync", "reset", "cost_usage"],
        cwd=place,
        env=environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        told = ""
        while "[y/N]" not in told:
            told += running.stderr.read(1)
        running.send_signal(signal.SIGINT)
        out, rest = running.communicate(timeout=30)
    os.close(mine)
    os.close(theirs)
    assert (running.returncode, out) == (130, "")
    assert "Traceback" not in rest
    assert "Aborted" not in rest


# -------------------------------------------------------------------------------------------------------------- ending


@pytest.mark.skipif(BASH is None, reason="there is no bash here")
@pytest.mark.parametrize("arguments", ["config show", "--help"])
def test_a_reader_that_goes_away_is_no_error(place: Path, arguments: str) -> None:
    done = in_bash(place, f"qupersync {arguments} | true; echo ${{PIPESTATUS[0]}}")
    assert done.stdout == "0\n"
    assert done.stderr == ""


@pytest.mark.skipif(BASH is None, reason="there is no bash here")
def test_what_is_piped_is_plain(place: Path) -> None:
    done = in_bash(place, "qupersync check | cat", TERM="xterm-256color")
    assert "checks did not pass" in done.stdout
    assert "\x1b" not in done.stdout


def test_no_color_is_honoured_on_a_terminal(place: Path) -> None:
    shown = {}
    for name, more in (("plain", {"NO_COLOR": "1"}), ("coloured", {})):
        mine, theirs = pty.openpty()
        given = {**environment(TERM="xterm-256color"), **more}
        with subprocess.Popen([BIN / "qupersync", "check"], cwd=place, env=given, stdout=theirs) as running:
            os.close(theirs)
            chunks = []
            try:
                while chunk := os.read(mine, 65536):
                    chunks.append(chunk)
            except OSError:  # its end of the terminal is closed
                pass
            running.wait(60)
        os.close(mine)
        shown[name] = b"".join(chunks)
    assert b"\x1b[31m" in shown["coloured"]
    assert b"\x1b[31m" not in shown["plain"]


def test_a_defect_is_one_line_unless_more_is_asked_for(place: Path) -> None:
    script = "from qupersync_shared.runtime.cli import app, main; app.discover = lambda: 1 / 0; main()"
    for more, traceback in (([], False), (["--debug"], True)):
        done = subprocess.run(
            [sys.executable, "-c", script, "status", *more],
            cwd=place,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: ZeroDivisionError: division by zero")
        assert ("Traceback" in done.stderr) == traceback
