"""The score of a pipeline: a column that its model computes for each row of a page, off the event loop."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa

from qupersync_extractor.application.additions import Added
from qupersync_extractor.application.scoring.bisecting import Scored, plain_rows, score_rows
from qupersync_extractor.application.scoring.features import FeaturePlan, feature_matrix, feature_plan
from qupersync_extractor.application.scoring.ports import (
    FeatureSource,
    Matrix,
    Model,
    ModelMetadata,
    ModelRegistry,
    ModelUnavailableError,
)
from qupersync_extractor.domain.pipeline import Pipeline, Score
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.errors import ConfigurationError

SCORE_TYPE: Final = LogicalType(Kind.DOUBLE)
_DIGITS: Final = 16


class Scoring:
    """What one pipeline adds to its rows. Without a `registry` nothing can be scored: the process has none."""

    def __init__(
        self, pipeline: Pipeline, score: Score, registry: ModelRegistry | None, features: FeatureSource | None
    ) -> None:
        self._pipeline = pipeline
        self._score = score
        self._registry = registry
        self._features = features
        self._open: OpenScoring | None = None

    async def open(self, relation: RowSchema) -> "OpenScoring":
        """The model made ready for rows of this relation; the same as long as neither has changed."""
        check_column(self._pipeline, self._score, relation)
        if self._registry is None:
            raise ModelUnavailableError(
                "this process knows of no models", cure="Write `models: {path: …}` and start it again"
            )
        name, version = self._score.model, self._score.version
        metadata = await asyncio.to_thread(self._registry.metadata, name, version)
        if self._open is not None and self._open.is_of(metadata, relation):
            return self._open
        offered = self._features.names if self._features is not None else frozenset()
        plan = feature_plan(self._pipeline, self._score, metadata, relation, offered)
        model = await asyncio.to_thread(self._registry.open, name, version)
        if model.metadata != metadata:
            raise ModelUnavailableError(f"model {name} version {version} is being replaced", cure="Tried again")
        self._open = OpenScoring(self._score, model, relation, plan, self._features)
        return self._open


class OpenScoring:
    """An opened model and the rows that it scores. It remembers one row that was scored: such a row proves it whole."""

    def __init__(
        self, score: Score, model: Model, relation: RowSchema, plan: FeaturePlan, features: FeatureSource | None
    ) -> None:
        self._score = score
        self._model = model
        self._relation = relation
        self._plan = plan
        self._features = features
        self._scored: Matrix | None = None

    def is_of(self, metadata: ModelMetadata, relation: RowSchema) -> bool:
        return self._model.metadata == metadata and self._relation == relation

    @property
    def columns(self) -> tuple[Column, ...]:
        return (Column(self._score.into, SCORE_TYPE),)

    @property
    def identity(self) -> str:
        """Of everything that a score comes from, but the rows."""
        known = self._model.metadata
        text = json.dumps(
            [self._score.model, known.version, known.digest, known.features, known.output, self._score.into]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

    async def apply(self, batch: pa.RecordBatch) -> Added:
        """The scores; a row that has none says why. ModelUnavailableError where the model fails as a whole."""
        if batch.num_rows == 0:
            return Added(columns=(pa.array([], SCORE_TYPE.arrow),))
        fetched: Mapping[str, pa.Array] = {}
        if self._plan.fetched and self._features is not None:
            fetched = await self._features.features(self._plan.fetched, batch)
        return await asyncio.to_thread(self._apply, batch, fetched)

    def _apply(self, batch: pa.RecordBatch, fetched: Mapping[str, pa.Array]) -> Added:
        matrix = feature_matrix(self._plan, batch, fetched)
        try:
            scored = score_rows(self._model, matrix, known_good=self._known_good)
        except ModelUnavailableError as error:
            named = f"{self._score.model} version {self._score.version}: {error.message}"
            raise ModelUnavailableError(named, cure=error.cure) from error
        self._remember(matrix, scored)
        refused = scored.refused
        values = pa.array(scored.scores, SCORE_TYPE.arrow, mask=np.isin(np.arange(len(matrix)), list(refused)))
        if not refused:
            return Added(columns=(values,))
        reasons = pa.array([refused.get(index) for index in range(len(matrix))], pa.string())
        return Added(columns=(values,), refused=reasons)

    def _remember(self, matrix: Matrix, scored: Scored) -> None:
        good = np.flatnonzero(np.isfinite(scored.scores))
        if self._scored is None and len(good):
            self._scored = matrix[good[:1]].copy()

    def _known_good(self) -> Sequence[Matrix]:
        """Rows of which a whole model can score one: one that it has scored comes first."""
        scored = [] if self._scored is None else [self._scored]
        return [*scored, *plain_rows(self._model.metadata)]


def check_column(pipeline: Pipeline, score: Score, relation: RowSchema) -> None:
    """ConfigurationError where the score's column is one of the source's, or has a name that no column may have."""
    place = f"pipelines.{pipeline.name}.score.into"
    if score.into in relation.names:
        role = "the key" if score.into in relation.key else "the columns"
        raise ConfigurationError(
            f"{score.into!r} is among {role} of {pipeline.relation} already", place=place, cure="Choose another name"
        )
    try:
        replace(relation, columns=(*relation.columns, Column(score.into, SCORE_TYPE)))
    except ValueError as error:
        raise ConfigurationError(str(error), place=place, cure="Choose another name") from error
