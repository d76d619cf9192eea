"""From rows to the matrix that a model takes: features that are columns, and features from elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.application.scoring.ports import Matrix, ModelMetadata
from qupersync_extractor.domain.pipeline import Pipeline, Score
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.types import Kind
from qupersync_shared.kernel.errors import ConfigurationError

NUMBERS: Final = frozenset(
    {Kind.SMALLINT, Kind.INTEGER, Kind.BIGINT, Kind.REAL, Kind.DOUBLE, Kind.NUMERIC, Kind.BOOLEAN}
)


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """The features in the model's order, and those of them that are not columns of the rows."""

    names: tuple[str, ...]
    fetched: tuple[str, ...]


def feature_plan(
    pipeline: Pipeline, score: Score, metadata: ModelMetadata, relation: RowSchema, offered: frozenset[str]
) -> FeaturePlan:
    """Where each feature comes from; ConfigurationError naming one that comes from nowhere, or is no number."""
    fetched = []
    for name in metadata.features:
        if name not in relation.names:
            if name not in offered:
                raise _nowhere(pipeline, score, name, offered)
            fetched.append(name)
            continue
        kind = relation.column(name).type.kind
        if kind not in NUMBERS:
            raise ConfigurationError(
                f"feature {name!r} of model {score.model} is a column of type {kind}, and models take numbers",
                place=f"pipelines.{pipeline.name}.score",
                cure="Turn it into a number in a query, as in the model's training",
            )
    return FeaturePlan(names=metadata.features, fetched=tuple(fetched))


def feature_matrix(plan: FeaturePlan, batch: pa.RecordBatch, fetched: Mapping[str, pa.Array]) -> Matrix:
    """One row a row, one column a feature, as double precision; NaN where there is no value."""
    matrix = np.empty((batch.num_rows, len(plan.names)), np.float64)
    for place, name in enumerate(plan.names):
        values = fetched[name] if name in plan.fetched else batch.column(name)
        if len(values) != batch.num_rows:
            raise ValueError(f"feature {name} came with {len(values)} values for {batch.num_rows} rows")
        matrix[:, place] = _numbers(values)
    return matrix


def _numbers(values: pa.Array) -> np.ndarray:
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.string())  # Arrow's own cast misses the nearest double, and trees split on values
    # Beyond 2^53 a whole number loses its last digits: no model tells them apart.
    floats = pc.fill_null(values.cast(pa.float64(), safe=False), float("nan"))
    found: np.ndarray = floats.to_numpy(zero_copy_only=False)
    return found


def _nowhere(pipeline: Pipeline, score: Score, name: str, offered: frozenset[str]) -> ConfigurationError:
    more = f", nor among what the source's other tables offer ({', '.join(sorted(offered))})" if offered else ""
    return ConfigurationError(
        f"model {score.model} version {score.version} needs feature {name!r}, which is not a column of "
        f"{pipeline.relation}{more}",
        place=f"pipelines.{pipeline.name}.score",
        cure="Add the column, in a query for instance, or pin a model that goes without it",
    )
