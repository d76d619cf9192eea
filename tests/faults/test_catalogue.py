"""The suite against its catalogue: no fault without a test, and every test runs where it should."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.catalogue import FAULTS

PLACE = Path(__file__).parent


def _modules() -> dict[Path, ast.Module]:
    return {
        path: ast.parse(path.read_text("utf-8"))
        for path in sorted(PLACE.glob("test_*.py"))
        if path.name != Path(__file__).name
    }


def _marked(tree: ast.AST, name: str) -> Iterator[ast.expr]:
    """Every use of `pytest.mark.<name>`, called or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == f"pytest.mark.{name}":
            yield node


def _numbers(tree: ast.AST) -> Iterator[int]:
    """What `pytest.mark.fault(…)` is called with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
            for argument in node.args:
                assert isinstance(argument, ast.Constant), f"{ast.unparse(node)}: write the numbers as they are"
                assert isinstance(argument.value, int)
                yield argument.value


def test_every_fault_of_the_catalogue_has_a_test() -> None:
    tested = {number for tree in _modules().values() for number in _numbers(tree)}
    missing = {number: fault.what for number, fault in FAULTS.items() if number not in tested}
    assert not missing
    assert tested <= set(FAULTS)


@pytest.mark.parametrize("name", ["faults", "fault"])
def test_every_module_says_what_it_is(name: str) -> None:
    assert not [path.name for path, tree in _modules().items() if not any(_marked(tree, name))]
