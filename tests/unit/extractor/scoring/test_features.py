"""Features: from columns of every type, from elsewhere, and a clear error for those from nowhere."""

import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from tests.unit.extractor.application.bench import columns, pipeline
from tests.unit.extractor.scoring.fakes import metadata

from qupersync_extractor.application.scoring.features import FeaturePlan, feature_matrix, feature_plan
from qupersync_extractor.domain.pipeline import Score
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import ConfigurationError

RELATION = RowSchema(
    columns=columns(
        id="bigint", small="smallint", real="real", money="numeric(38,6)", flag="boolean", note="varchar", day="date"
    ),
    key=("id",),
)
SCORE = Score(model="churn", version="1", into="score")


def test_columns_come_from_the_rows_and_the_rest_from_whoever_offers_it() -> None:
    plan = feature_plan(
        pipeline(), SCORE, metadata("tenure", "money", "flag"), RELATION, frozenset({"tenure", "money"})
    )
    assert plan == FeaturePlan(("tenure", "money", "flag"), ("tenure",))


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        ("unknown", "needs feature 'unknown', which is not a column of main.orders, nor among .*tenure"),
        ("note", "feature 'note' of model churn is a column of type varchar"),
        ("day", "feature 'day' of model churn is a column of type date"),
    ],
)
def test_a_feature_from_nowhere_and_one_that_is_no_number_are_named(feature: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        feature_plan(pipeline(), SCORE, metadata(feature), RELATION, frozenset({"tenure"}))
    assert caught.value.place == "pipelines.orders.score"


def test_values_of_every_type_become_doubles_in_the_models_order() -> None:
    rows = [
        {"id": 2**62, "small": -3, "real": 0.5, "money": Decimal("12345678901234567890.25"), "flag": True},
        {"id": 1, "small": None, "real": None, "money": None, "flag": None},
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=RELATION.arrow())
    names = ("flag", "tenure", "money", "real", "small", "id")
    matrix = feature_matrix(FeaturePlan(names, ("tenure",)), batch, {"tenure": pa.array([7, None], pa.uint16())})
    assert matrix[0].tolist() == [1.0, 7.0, 12345678901234567890.25, 0.5, -3.0, float(2**62)]
    assert np.isnan(matrix[1, :5]).all()
    assert not math.isnan(matrix[1, 5])


def test_features_that_do_not_belong_to_the_rows_are_a_defect() -> None:
    batch = pa.RecordBatch.from_pylist([{"id": 1}], schema=RELATION.arrow())
    with pytest.raises(ValueError, match="2 values for 1 rows"):
        feature_matrix(FeaturePlan(("t",), ("t",)), batch, {"t": pa.array([1.0, 2.0])})
