"""The score's row of `qupersync check`: its model, the digest, the features; whatever is wrong, with its cure."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from tests.conformance.models.conftest import stored, sums

from qupersync_extractor.bootstrap import feature_source
from qupersync_extractor.infrastructure.sources.duckdb import DuckDbSource
from qupersync_extractor.interface.score_checks import score_checks
from qupersync_extractor.settings import pipeline_of
from qupersync_shared.runtime.plugins import CheckRow, Verdict
from qupersync_shared.runtime.settings import Configuration

PIPELINE: dict[str, Any] = {"from": "raw.customers", "into": "public.customers", "key": ["customer_id"]}


def configured(tmp_path: Path, *, into: str = "churn_score", models: bool = True) -> Configuration:
    score = {"model": "churn", "version": "1", "into": into}
    sections: dict[str, Any] = {
        "source": {"kind": "duckdb", "path": str(tmp_path / "warehouse.duckdb")},
        "models": {"path": str(tmp_path / "models")},
        "pipelines": {"customers": {**PIPELINE, "score": score}},
    }
    made = Configuration.model_validate(sections)
    return made if models else made.model_copy(update={"models": None})


@pytest.fixture(autouse=True)
def warehouse(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "warehouse.duckdb") as connection:
        connection.execute("CREATE SCHEMA raw")
        connection.execute("CREATE TABLE raw.customers (customer_id VARCHAR, mrr DECIMAL(12, 2), industry VARCHAR)")


async def checked(configuration: Configuration) -> CheckRow:
    section = configuration.pipelines["customers"]
    source = DuckDbSource(configuration.source.path)  # type: ignore[union-attr]
    try:
        (row,) = await score_checks(configuration, source, pipeline_of("customers", section))
    finally:
        await source.close()
    assert (row.area, row.subject) == ("customers", "score")
    return row


async def test_a_model_that_is_there_is_told_with_its_features_and_digest(tmp_path: Path) -> None:
    configuration = configured(tmp_path)
    offers = feature_source(configuration)
    assert offers is not None
    other = min(offers.names - {"mrr"})
    stored(tmp_path / "models", "churn", "1", sums(1.0, 2.0), ["mrr", other])
    row = await checked(configuration)
    assert row.verdict is Verdict.OK, row
    assert row.message.startswith("churn 1: 2 features, 1 of them from other tables, SHA-256 ")


async def test_a_model_of_another_framework_version_is_a_warning(tmp_path: Path) -> None:
    stored(tmp_path / "models", "churn", "1", sums(1.0), ["mrr"], framework_version="0.1")
    row = await checked(configured(tmp_path))
    assert (row.verdict, "trained with scikit-learn 0.1" in row.message) == (Verdict.WARNING, True), row
    assert row.cure


async def test_a_model_that_scores_no_plain_row_should_have_an_example(tmp_path: Path) -> None:
    rows = np.array([[5.0], [6.0], [5.0], [6.0]])
    picky = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, [0, 1, 0, 1])
    for example, verdict in ((None, Verdict.WARNING), ([7], Verdict.WARNING), ([5], Verdict.OK)):
        stored(tmp_path / "models", "churn", "1", picky, ["mrr"], output="probability", example=example)
        row = await checked(configured(tmp_path))
        assert (row.verdict, "example" in row.cure) == (verdict, verdict is Verdict.WARNING), row


@pytest.mark.parametrize(
    ("features", "changes", "into", "said"),
    [
        (["unknown"], {}, "churn_score", "needs feature 'unknown'"),
        (["industry"], {}, "churn_score", "is a column of type varchar"),
        (["mrr"], {"sha256": "ab" * 32}, "churn_score", "was not opened"),
        (["mrr"], {"version": "2"}, "churn_score", "is of version '2'"),
        (["mrr"], {"artifact": "other.joblib"}, "churn_score", "other.joblib is missing"),
        (["mrr"], {}, "mrr", "among the columns of raw.customers"),
        (["mrr"], {}, "customer_id", "among the key of raw.customers"),
    ],
)
async def test_what_is_wrong_is_a_failed_row_with_a_cure(
    tmp_path: Path, features: list[str], changes: dict[str, Any], into: str, said: str
) -> None:
    stored(tmp_path / "models", "churn", "1", sums(1.0), features, **changes)
    row = await checked(configured(tmp_path, into=into))
    assert (row.verdict, said in row.message) == (Verdict.FAILED, True), row
    assert row.cure


async def test_a_missing_model_and_a_missing_section_are_failed_rows(tmp_path: Path) -> None:
    row = await checked(configured(tmp_path))
    assert (row.verdict, "model churn has no version 1" in row.message) == (Verdict.FAILED, True), row
    row = await checked(configured(tmp_path, models=False))
    assert (row.verdict, row.cure) == (Verdict.FAILED, "Write `models: {path: …}`")


async def test_a_pipeline_without_a_score_has_no_row(tmp_path: Path) -> None:
    configuration = configured(tmp_path)
    section = configuration.pipelines["customers"].model_copy(update={"score": None})
    source = DuckDbSource(tmp_path / "warehouse.duckdb")
    try:
        assert await score_checks(configuration, source, pipeline_of("customers", section)) == []
    finally:
        await source.close()
