"""What `qupersync up --config` takes from a user's own file."""

from pathlib import Path

import pytest

from qupersync_local.up import own_sections
from qupersync_shared.kernel.errors import ConfigurationError


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_ready_made_pipelines_are_enough(tmp_path: Path) -> None:
    assert own_sections(_written(tmp_path, "include: [redshift_health]\n")) == {"include": ["redshift_health"]}


def test_only_a_duckdb_file_stays_the_source(tmp_path: Path) -> None:
    text = "source: {{kind: {}}}\ninclude: [{}]\n"
    kept = own_sections(_written(tmp_path, text.format("duckdb, path: /data/w.duckdb", "warehouse")))
    assert kept["source"] == {"kind": "duckdb", "path": "/data/w.duckdb"}
    redshift = text.format("redshift, host: localhost, database: dev, user: sync", "cost_usage")
    assert "source" not in own_sections(_written(tmp_path, redshift))


@pytest.mark.parametrize("text", ["{}", "include: []\n", "pipelines: {}\n"])
def test_a_file_without_pipelines_is_refused_with_both_cures(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"mine\.yaml.*no pipeline.*include"):
        own_sections(_written(tmp_path, text))
