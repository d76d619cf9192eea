"""What the README tells people to type exists: commands, make targets, options and configuration."""

import re
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from qupersync_extractor.main import app as extractor
from qupersync_loader.main import app as loader
from qupersync_shared.runtime.cli import build_app
from qupersync_shared.runtime.plugins import discover
from qupersync_shared.runtime.settings import Configuration

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"(?m)^(qupersync(?:-\w+)?) (\w+)", README)))
INLINE = sorted(set(re.findall(r"`(qupersync(?:-\w+)?) (\w+) (--[\w-]+)", README)))
TARGETS = sorted(set(re.findall(r"(?m)^make (\w+)|`make (\w+)", README)))


def test_the_readme_names_commands_at_all() -> None:
    assert len(COMMANDS) >= 7
    assert INLINE
    assert TARGETS


@cache
def programs() -> dict[str, typer.Typer]:
    return {"qupersync": build_app(discover()), "qupersync-extractor": extractor, "qupersync-loader": loader}


def explained(program: str, command: str) -> str:
    """What `PROGRAM COMMAND --help` says."""
    done = CliRunner().invoke(programs()[program], [command, "--help"], env={"NO_COLOR": "1", "COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return re.sub(r"\x1b\[[0-9;]*m", "", done.output)


@pytest.mark.parametrize(("program", "command"), COMMANDS)
def test_a_command_exists(program: str, command: str) -> None:
    assert command in explained(program, command)


@pytest.mark.parametrize(("program", "command", "option"), INLINE)
def test_an_option_exists(program: str, command: str, option: str) -> None:
    assert option in explained(program, command)


@pytest.mark.parametrize("target", sorted({one or other for one, other in TARGETS}))
def test_a_make_target_exists(target: str) -> None:
    assert re.search(rf"(?m)^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"))


def test_the_example_configuration_is_valid() -> None:
    example = next(block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "pipelines:" in block)
    configuration = Configuration.model_validate(yaml.safe_load(example))
    assert configuration.pipelines["cost_usage"].key == ["id"]


@pytest.mark.parametrize(
    ("document", "link"),
    [
        (str(path.relative_to(ROOT)), link)
        for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
        for link in re.findall(r"\]\(((?!http)[^)#]+)", path.read_text(encoding="utf-8"))
    ],
)
def test_a_link_leads_somewhere(document: str, link: str) -> None:
    assert ((ROOT / document).parent / link).exists()


@pytest.mark.parametrize("letter", "LOWDSPBV")
def test_a_promise_names_its_tests(letter: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| **{letter}** |"))
    tests = re.findall(r"\]\((tests/[\w/]+\.py)\)", row)
    assert tests
    assert all("def test_" in (ROOT / test).read_text(encoding="utf-8") for test in tests)
