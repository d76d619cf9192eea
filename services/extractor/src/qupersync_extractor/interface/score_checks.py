"""The score of a pipeline in `qupersync check`: its model, the artifact's digest, and where its features come from."""

import asyncio

from qupersync_extractor.application.ports import Source
from qupersync_extractor.application.relation import row_schema
from qupersync_extractor.application.scoring.bisecting import is_whole, plain_rows
from qupersync_extractor.application.scoring.features import feature_plan
from qupersync_extractor.application.scoring.ports import ModelMetadata
from qupersync_extractor.application.scoring.scoring import check_column
from qupersync_extractor.bootstrap import feature_source, model_registry
from qupersync_extractor.domain.pipeline import Pipeline, Score
from qupersync_extractor.infrastructure.models.estimator import installed
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.plugins import CheckRow, Verdict
from qupersync_shared.runtime.settings import Configuration

SUBJECT = "score"


async def score_checks(configuration: Configuration, source: Source, pipeline: Pipeline) -> list[CheckRow]:
    """One row for a pipeline with a score, none for others; whatever is wrong becomes a failed row.

    The model is opened, after its digest was checked: what cannot be opened here cannot be at work.
    """
    score = pipeline.score
    if score is None:
        return []
    try:
        return [await _score(configuration, source, pipeline, score)]
    except QupersyncError as error:
        return [
            CheckRow(
                area=pipeline.name, subject=SUBJECT, verdict=Verdict.FAILED, message=error.message, cure=error.cure
            )
        ]


async def _score(configuration: Configuration, source: Source, pipeline: Pipeline, score: Score) -> CheckRow:
    registry = model_registry(configuration)
    if registry is None:
        return CheckRow(
            area=pipeline.name,
            subject=SUBJECT,
            verdict=Verdict.FAILED,
            message="nothing says where models are",
            cure="Write `models: {path: …}`",
        )
    metadata = await asyncio.to_thread(registry.metadata, score.model, score.version)
    relation = await row_schema(source, pipeline)
    check_column(pipeline, score, relation)
    offers = feature_source(configuration)
    offered = offers.names if offers is not None else frozenset()
    plan = feature_plan(pipeline, score, metadata, relation, offered)
    model = await asyncio.to_thread(registry.open, score.model, score.version)
    whole = await asyncio.to_thread(is_whole, model, plain_rows(metadata))
    fetched = f", {len(plan.fetched)} of them from other tables" if plan.fetched else ""
    told = f"{score.model} {score.version}: {len(plan.names)} features{fetched}, SHA-256 {metadata.digest[:12]}…"
    problem, cure = _doubts(metadata, whole=whole)
    return CheckRow(
        area=pipeline.name,
        subject=SUBJECT,
        verdict=Verdict.WARNING if problem else Verdict.OK,
        message=f"{told}; {problem}" if problem else told,
        cure=cure,
    )


def _doubts(metadata: ModelMetadata, *, whole: bool) -> tuple[str, str]:
    """What may be wrong with a model that could be opened, and the cure."""
    here = installed(metadata.framework)
    if here != metadata.framework_version:
        return (
            f"trained with {metadata.framework} {metadata.framework_version}, here is {here or 'none'}",
            "Install the version that it was trained with, or train it anew: scores may differ",
        )
    if not whole:
        tried = "neither zeros nor ones" if metadata.example is None else "neither its example nor zeros nor ones"
        return (
            f"it scores {tried}: a page of refused rows alone could not be told from a broken model",
            "Give its metadata an `example`, one number a feature, of a row that it scores",
        )
    return "", ""
