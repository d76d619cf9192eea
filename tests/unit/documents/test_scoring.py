"""docs/scoring.md: its example trains a model that the registry opens, and it names every field there is."""

import re
from pathlib import Path

import pytest

from qupersync_extractor.infrastructure.models import metadata
from qupersync_extractor.infrastructure.models.registry import FileModelRegistry

DOCUMENT = (Path(__file__).parents[3] / "docs" / "scoring.md").read_text("utf-8")


def test_the_example_trains_a_model_that_the_registry_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/scoring.md", "exec"), {})  # the words of the document itself
    model = FileModelRegistry(Path("models")).open("churn_model", "1")
    assert model.metadata.features == ("mrr", "seats")
    assert model.metadata.example == (100.0, 5.0)


def test_every_field_of_the_metadata_is_told() -> None:
    told = {
        name for row in re.findall(r"^\| (`.*?) \|", DOCUMENT, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert told == {*metadata._FIELDS, "example"}
