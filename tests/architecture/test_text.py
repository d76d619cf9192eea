"""What no file of the repository may be or say."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES_MAX = 400
VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "misc", "common"}

# Written in two parts, so that this file does not say what it forbids.
FORBIDDEN = {
    "work to be done later": re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"),
    "a path of one machine": re.compile(r"(?<![\w.:}-])/wo" + r"rk(?![\w.-])|/ho" + r"me/\w|/Us" + r"ers/\w"),
    "a package index": re.compile(r"pypi\.o" + r"rg|python" + r"hosted\.org|registry\.npm" + r"js", re.IGNORECASE),
    "a stub": re.compile(r"\bNotImplemented" + r"Error\b"),
    "a conflict": re.compile(r"^(<{7}|>{7}) ", re.MULTILINE),
}


def tracked() -> Iterator[Path]:
    """Every file that is or would be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            yield ROOT / name


@pytest.fixture(scope="module")
def files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of files")
    return list(tracked())


def text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def test_no_module_is_longer_than_can_be_read_at_once(files: list[Path]) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in files
        if path.suffix == ".py" and (lines := len(path.read_text(encoding="utf-8").splitlines())) > LINES_MAX
    }

    assert not long


def test_no_module_has_a_name_that_says_nothing(files: list[Path]) -> None:
    assert not [str(path.relative_to(ROOT)) for path in files if path.suffix == ".py" and path.stem in VAGUE]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_says_what_does_not_belong_in_it(what: str, files: list[Path]) -> None:
    found = []
    for path in files:
        for match in FORBIDDEN[what].finditer(text_of(path) or ""):
            line = match.string.count("\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(ROOT)}:{line}: {match.group()}")

    assert not found


def test_every_package_that_is_typed_says_so(files: list[Path]) -> None:
    packages = {path.parent for path in files if path.name == "__init__.py" and path.parent.parent.name == "src"}

    assert packages
    assert not [str(package.relative_to(ROOT)) for package in packages if not (package / "py.typed").exists()]
