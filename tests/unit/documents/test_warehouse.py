"""docs/warehouse.md: its program runs, its configurations load, and its tables name what there is."""

import re
from pathlib import Path

import pytest

from qupersync_extractor.domain.warehouse import Customer, PlanTier, UsageEvent
from qupersync_extractor.domain.warehouse.features import FEATURES
from qupersync_shared.runtime.settings import load

DOCUMENT = (Path(__file__).parents[3] / "docs" / "warehouse.md").read_text("utf-8")


def test_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # saving again changes nothing
        exec(compile(program, "docs/warehouse.md", "exec"), {"__name__": "example"})  # the words of the document itself
        assert capsys.readouterr().out == "c1 49.9000 1\n"


def test_the_configurations_load(tmp_path: Path) -> None:
    place = tmp_path / "qupersync.yaml"
    found = []
    for example in re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL):
        place.write_text(example, encoding="utf-8")
        found.append({name: one.into for name, one in load(place, {}).pipelines.items()})
    assert found == [
        {},
        {"orders": "public.orders", "prices": "public.prices"},
        {"usage_events": "app.usage_events", "customers": "public.customers"},
    ]


def test_every_column_and_feature_is_told() -> None:
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|.*", DOCUMENT, re.MULTILINE))))
    assert told >= {*Customer.field_types(), *UsageEvent.field_types(), *FEATURES}
    assert ", ".join(f"{tier} {PlanTier(tier).rank}" for tier in PlanTier.KNOWN) in DOCUMENT
