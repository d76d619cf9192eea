"""Models for tests, as plain functions of one row."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from qupersync_extractor.application.scoring.ports import Matrix, ModelMetadata, Output


def metadata(*features: str, version: str = "1", example: tuple[float, ...] | None = None) -> ModelMetadata:
    return ModelMetadata(
        version=version,
        artifact="model.joblib",
        digest="ab" * 32,
        features=features,
        output=Output.VALUE,
        framework="tests",
        framework_version="1",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        example=example,
    )


@dataclass
class FakeModel:
    """Answers `score` of each row, and raises for a whole matrix where it raises for one row."""

    metadata: ModelMetadata
    score: Callable[[tuple[float, ...]], float] = sum
    takes_missing: bool = False
    calls: list[int] = field(default_factory=list)

    def scores(self, matrix: Matrix) -> Matrix:
        self.calls.append(len(matrix))
        return np.array([self.score(tuple(row)) for row in matrix.tolist()], np.float64)


def refusing(bad: Callable[[float], bool]) -> Callable[[tuple[float, ...]], float]:
    """A score of the first feature, doubled, that raises where it is bad."""

    def score(row: tuple[float, ...]) -> float:
        if bad(row[0]):
            raise ValueError(f"found unknown categories [{row[0]}] in column 'plan' during transform\nmore")
        return row[0] * 2

    return score


def never(row: tuple[float, ...]) -> float:
    raise ValueError(f"broken for {row[0]}")


NOT_A_NUMBER = math.nan
