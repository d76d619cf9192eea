"""docs/catalogue.md says of every ready-made entity what the code says: fields, types, keys, derived numbers."""

import re
from pathlib import Path

import pytest
import yaml

from qupersync_extractor.application.entities import entity_columns
from qupersync_extractor.domain.catalogue import ENTITY_CLASSES
from qupersync_shared.runtime.settings.catalogue import ENTITIES, complete, include

PAGE = (Path(__file__).parents[3] / "docs" / "catalogue.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    lines = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@pytest.mark.parametrize("name", sorted(set(ENTITY_CLASSES) - {"cost_usage"}))
def test_fields_and_types_are_the_entitys(name: str) -> None:
    said: dict[str, str] = {}
    for fields, types, *_ in rows(SECTIONS[name]):
        names, kinds = quoted(fields), types.split(", ")
        said |= dict(zip(names, kinds if len(kinds) > 1 else kinds * len(names), strict=True))
    columns = entity_columns(ENTITY_CLASSES[name])
    assert said == {column.name: column.type.postgres.removesuffix(" without time zone") for column in columns}


@pytest.mark.parametrize("name", sorted(ENTITY_CLASSES))
def test_derived_numbers_and_fields_are_named(name: str) -> None:
    cls = ENTITY_CLASSES[name]
    derived = [attribute for attribute, value in vars(cls).items() if isinstance(value, property)]
    words = set(re.findall(r"\w+", " ".join(quoted(SECTIONS[name]))))
    assert {*cls.field_types(), *derived} <= words


def test_keys_cursors_and_policies_are_the_ready_made_ones() -> None:
    overview = {quoted(cells[0])[0]: cells for cells in rows(PAGE.split("The tables of the DuckDB")[0])}
    assert set(overview) == set(ENTITY_CLASSES)
    for name, (_, _, key, cursor, keeps) in overview.items():
        ready = ENTITIES[name].keys
        assert quoted(key)[0].split(", ") == ready["key"]
        assert (quoted(cursor) or [None])[0] == ready.get("cursor")
        assert ("deletes: keep" in keeps) is (ready.get("deletes") == "keep")


def test_the_example_is_a_configuration() -> None:
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    pipelines = {name: complete(one) for name, one in include(yaml.safe_load(example[1]))["pipelines"].items()}
    assert pipelines["query_history"]["into"] == "ops.query_history"
    assert pipelines["query_history"]["deletes"] == "keep"
    assert pipelines["cost_usage"]["from"] == "finance.cost_lines"
    assert set(pipelines) == set(ENTITY_CLASSES)
