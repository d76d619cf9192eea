"""`qupersync demo --source duckdb`: with a score, and where nothing is installed that could compute one."""

import os
import re
from pathlib import Path

import pytest
from tests.e2e.world import command

pytestmark = pytest.mark.e2e
HIDDEN = "import sys; sys.modules['sklearn'] = None\n"


@pytest.mark.timeout(400)
async def test_customers_are_scored_and_the_scores_compared() -> None:
    answer = await command("qupersync", "demo", "--rows", "3000", "--seed", "3", "--source", "duckdb", seconds_max=380)
    assert answer.code == 0, answer
    assert "trained churn_model version 1 on 300 customers" in answer.out
    match = re.search(r"^source and target are equal: (\d+) rows$", answer.out, re.MULTILINE)
    assert match, answer.out
    assert int(match[1]) > 3_000
    assert "\x1b[" not in answer.out


@pytest.mark.timeout(400)
async def test_without_scikit_learn_it_runs_without_the_score_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDDEN, encoding="utf-8")
    answer = await command(
        *("qupersync", "demo", "--rows", "1000", "--source", "duckdb"),
        environment={"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        seconds_max=380,
    )
    assert answer.code == 0, answer
    (line,) = [line for line in answer.out.splitlines() if "scikit-learn" in line]
    assert line == "no churn score: scikit-learn is not installed (pip install 'qupersync-extractor[scoring]')"
    assert "trained" not in answer.out
    assert "source and target are equal" in answer.out
