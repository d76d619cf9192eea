"""One suite, every model registry: a harness puts models there and damages them."""

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LinearRegression
from tests.unit.extractor.scoring.fakes import FakeModel, metadata

from qupersync_extractor.application.scoring.ports import ModelRegistry
from qupersync_extractor.infrastructure.memory.models import MemoryModels
from qupersync_extractor.infrastructure.models.registry import FileModelRegistry


def stored(root: Path, model: str, version: str, estimator: Any, features: list[str], /, **changes: Any) -> Path:
    """Writes artifact and metadata as a training script does; the directory."""
    place = root / model / version
    place.mkdir(parents=True, exist_ok=True)
    artifact = place / "model.joblib"
    joblib.dump(estimator, artifact)
    facts = {
        "version": version,
        "artifact": artifact.name,
        "sha256": hashlib.sha256(artifact.read_bytes()).hexdigest(),
        "features": features,
        "output": "value",
        "framework": "scikit-learn",
        "framework_version": sklearn.__version__,
        "created_at": "2026-01-31T12:00:00Z",
    }
    facts = {name: value for name, value in (facts | changes).items() if value is not None}
    (place / "metadata.json").write_text(json.dumps(facts))
    return place


def sums(*weights: float) -> LinearRegression:
    """A model whose score is the weighted sum of its features."""
    count = len(weights)
    rows = np.eye(count)
    return LinearRegression(fit_intercept=False).fit(rows, rows @ np.array(weights))


class Harness(Protocol):
    registry: ModelRegistry

    def put(self, model: str, version: str, *weights: float) -> None:
        """A model of features f0, f1, … whose score is their weighted sum."""

    def damage(self, model: str, version: str) -> None:
        """From now on the model is there and cannot be opened."""


class FileHarness:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry: ModelRegistry = FileModelRegistry(root)

    def put(self, model: str, version: str, *weights: float) -> None:
        stored(self.root, model, version, sums(*weights), [f"f{place}" for place in range(len(weights))])

    def damage(self, model: str, version: str) -> None:
        (self.root / model / version / "model.joblib").unlink()


class MemoryHarness:
    def __init__(self) -> None:
        self.models = MemoryModels()
        self.registry: ModelRegistry = self.models

    def put(self, model: str, version: str, *weights: float) -> None:
        def score(row: tuple[float, ...]) -> float:
            return sum(weight * value for weight, value in zip(weights, row, strict=True))

        names = [f"f{place}" for place in range(len(weights))]
        self.models.put(model, FakeModel(metadata(*names, version=version), score))

    def damage(self, model: str, version: str) -> None:
        self.models.damage(model, version, "it was damaged")


@pytest.fixture(params=["file", "memory"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    return FileHarness(tmp_path) if request.param == "file" else MemoryHarness()
