"""The registry on disk: nothing is opened that is not what its metadata names, and every error names the path."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.conformance.models.conftest import stored, sums

from qupersync_extractor.application.scoring.ports import ModelUnavailableError, Output
from qupersync_extractor.infrastructure.models import registry as registry_module
from qupersync_extractor.infrastructure.models.registry import FileModelRegistry

RANDOM = np.random.default_rng(7)
ROWS = RANDOM.normal(size=(200, 2))
CHURNED = (ROWS.sum(axis=1) > 0).astype(int)
FEATURES = ["mrr", "tenure"]


class Canary:
    """A pickle that leaves a file behind when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def rewrite(place: Path, **changes: Any) -> None:
    facts = json.loads((place / "metadata.json").read_text()) | changes
    facts = {name: value for name, value in facts.items() if value is not None}
    (place / "metadata.json").write_text(json.dumps(facts))


def refused(root: Path, said: str, *, version: str = "1") -> None:
    with pytest.raises(ModelUnavailableError, match=said) as caught:
        FileModelRegistry(root).open("churn", version)
    assert caught.value.cure


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(n_estimators=5, random_state=1),
        HistGradientBoostingClassifier(max_iter=5),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_probability_of_class_1_is_what_the_estimator_says(tmp_path: Path, estimator: Any) -> None:
    estimator.fit(ROWS, CHURNED)
    stored(tmp_path, "churn", "1", estimator, FEATURES, output="probability")
    model = FileModelRegistry(tmp_path).open("churn", "1")
    assert model.metadata.output is Output.PROBABILITY
    assert model.metadata.created_at == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert model.scores(ROWS) == pytest.approx(estimator.predict_proba(ROWS)[:, 1], abs=1e-11)
    assert model.takes_missing == isinstance(estimator, RandomForestClassifier | HistGradientBoostingClassifier)


def test_one_row_alone_and_among_others_has_the_same_score(tmp_path: Path) -> None:
    stored(tmp_path, "churn", "1", LogisticRegression().fit(ROWS, CHURNED), FEATURES, output="probability")
    model = FileModelRegistry(tmp_path).open("churn", "1")
    alone = np.concatenate([model.scores(ROWS[place : place + 1]) for place in range(len(ROWS))])
    assert np.array_equal(alone, model.scores(ROWS))


def test_a_class_that_is_not_the_last_is_found_by_its_name(tmp_path: Path) -> None:
    estimator = LogisticRegression().fit(ROWS, np.where(CHURNED == 1, 1, 2))
    stored(tmp_path, "churn", "1", estimator, FEATURES, output="probability")
    scores = FileModelRegistry(tmp_path).open("churn", "1").scores(ROWS)
    assert scores == pytest.approx(estimator.predict_proba(ROWS)[:, 0], abs=1e-11)


@pytest.mark.parametrize("protocol", ["joblib", "compressed", "pickle"])
def test_artifacts_of_joblib_and_pickle_are_opened(tmp_path: Path, protocol: str) -> None:
    place = stored(tmp_path, "churn", "1", sums(2.0), ["mrr"])
    artifact = place / "model.joblib"
    if protocol == "compressed":
        joblib.dump(sums(3.0), artifact, compress=3)
    elif protocol == "pickle":
        artifact.write_bytes(pickle.dumps(sums(3.0)))
    rewrite(place, sha256=hashlib.sha256(artifact.read_bytes()).hexdigest().upper())
    factor = 2.0 if protocol == "joblib" else 3.0
    assert FileModelRegistry(tmp_path).open("churn", "1").scores(np.array([[1.0]])) == pytest.approx([factor])


def test_a_poisoned_pickle_is_never_opened(tmp_path: Path) -> None:
    canary = tmp_path / "sings"
    place = stored(tmp_path / "models", "churn", "1", sums(1.0), ["mrr"])
    (place / "model.joblib").write_bytes(pickle.dumps(Canary(canary)))
    refused(tmp_path / "models", "is not the artifact that its metadata names, and was not opened: its SHA-256 is")
    (place / "metadata.json").unlink()
    refused(tmp_path / "models", "metadata.json is missing")
    assert not canary.exists()
    pickle.loads((place / "model.joblib").read_bytes())
    assert canary.exists(), "the canary can sing"


def test_what_was_hashed_is_what_is_opened_even_if_the_file_is_another_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "sings"
    place = stored(tmp_path, "churn", "1", sums(2.0), ["mrr"])
    honest = registry_module.opened

    def swapped(*arguments: Any, **options: Any) -> Any:
        (place / "model.joblib").write_bytes(pickle.dumps(Canary(canary)))
        return honest(*arguments, **options)

    monkeypatch.setattr(registry_module, "opened", swapped)
    registry = FileModelRegistry(tmp_path)
    assert registry.open("churn", "1").scores(np.array([[1.0]])) == pytest.approx([2.0])
    assert registry.open("churn", "1").scores(np.array([[1.0]])) == pytest.approx([2.0]), "from memory"
    assert not canary.exists()


def test_a_missing_artifact_is_named_with_its_path(tmp_path: Path) -> None:
    place = stored(tmp_path, "churn", "1", sums(1.0), ["mrr"])
    (place / "model.joblib").unlink()
    refused(tmp_path, f"artifact {place}/model.joblib is missing")
    assert FileModelRegistry(tmp_path).metadata("churn", "1").features == ("mrr",), "nothing need be opened for that"


def test_a_model_of_unknown_version_is_never_opened(tmp_path: Path) -> None:
    stored(tmp_path, "churn", "unknown", sums(1.0), ["mrr"])
    refused(tmp_path, "metadata.json says that its version is unknown", version="unknown")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "2"}, "is of version '2', and '1' is pinned"),
        ({"version": 1}, "is of version 1, and '1' is pinned"),
        ({"sha256": None}, "sha256 is missing"),
        ({"sha256": "abc"}, "sha256 must be 64 hexadecimal digits"),
        ({"features": []}, "features must be a list of names, one at least"),
        ({"features": "mrr"}, "features must be a list of names"),
        ({"features": ["mrr", 3]}, "features must be a list of names"),
        ({"features": ["mrr", "mrr"]}, "feature 'mrr' stands twice"),
        ({"features": ["mrr", "tenure"]}, "it was trained on 1 features, and 2 are listed"),
        ({"output": "class"}, "output must be one of probability, value"),
        ({"output": "probability"}, "it tells no probabilities of classes"),
        ({"created_at": "yesterday"}, "created_at must be a time as in 2026-01-31T12:00:00Z"),
        ({"framework": ""}, "framework must be a text that is not empty"),
        ({"artifact": "../../other/1/model.joblib"}, "must be the name of a file beside it"),
        ({"artifact": "/etc/passwd"}, "must be the name of a file beside it"),
        ({"artifact": ".."}, "must be the name of a file beside it"),
        ({"artifact": "metadata.json"}, "must be the name of a file beside it"),
        ({"example": [1.0, 2.0]}, "example must be a list of 1 numbers"),
        ({"example": ["a"]}, "example must be a list of 1 numbers"),
        ({"example": [1.0, "a"]}, "example must be a list of 1 numbers"),
        ({"example": {"mrr": 1}}, "example must be a list of 1 numbers"),
        ({"example": [10**400]}, "example must be a list of 1 numbers"),
    ],
)
def test_metadata_that_is_wrong_is_refused_with_what_it_must_be(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    place = stored(tmp_path, "churn", "1", sums(1.0), ["mrr"])
    rewrite(place, **changes)
    refused(tmp_path, said)


@pytest.mark.parametrize(
    ("content", "said"), [("{", "is not JSON"), ("[" * 100_000, "is not JSON"), ("[1]", "is not a JSON object")]
)
def test_broken_metadata_is_named(tmp_path: Path, content: str, said: str) -> None:
    place = stored(tmp_path, "churn", "1", sums(1.0), ["mrr"])
    (place / "metadata.json").write_text(content)
    refused(tmp_path, f"{place}/metadata.json .*{said}")


@pytest.mark.parametrize("version", ["..", "../other", "/etc", "a\\b", ""])
def test_names_that_leave_the_registry_are_refused(tmp_path: Path, version: str) -> None:
    refused(tmp_path, "leaves the model registry", version=version)


def test_links_that_lead_out_of_the_registry_are_refused_and_those_within_are_followed(tmp_path: Path) -> None:
    place = stored(tmp_path / "outside", "churn", "1", sums(1.0), ["mrr"])
    root = tmp_path / "models"
    (root / "churn").mkdir(parents=True)
    (root / "churn" / "1").symlink_to(place)
    refused(root, "leads out of the model registry")
    (root / "churn" / "1").unlink()
    kept = stored(root, "..data", "1", sums(1.0), ["mrr"])
    (root / "churn" / "1").symlink_to(kept)
    assert FileModelRegistry(root).open("churn", "1").metadata.version == "1"


def test_what_is_no_file_and_what_is_too_large_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = stored(tmp_path, "churn", "1", sums(1.0), ["mrr"])
    monkeypatch.setattr(registry_module, "ARTIFACT_BYTES_MAX", 10)
    refused(tmp_path, "model.joblib is larger than 10 bytes")
    (place / "model.joblib").unlink()
    os.mkfifo(place / "model.joblib")
    refused(tmp_path, "model.joblib is not a file")


@pytest.mark.parametrize(
    ("estimator", "changes", "said"),
    [
        ("no model at all", {}, "it has no predict"),
        (LogisticRegression().fit(ROWS, CHURNED + 5), {"output": "probability"}, "it knows no class 1, only 5, 6"),
        (LinearRegression().fit(ROWS, ROWS[:, 0]), {"output": "probability"}, "it tells no probabilities"),
    ],
)
def test_a_model_that_cannot_give_the_output_is_refused_when_it_is_opened(
    tmp_path: Path, estimator: Any, changes: dict[str, Any], said: str
) -> None:
    stored(tmp_path, "churn", "1", estimator, FEATURES, **changes)
    refused(tmp_path, said)


def test_features_in_another_order_than_the_model_was_trained_on_are_refused(tmp_path: Path) -> None:
    estimator = LogisticRegression().fit(ROWS, CHURNED)
    estimator.feature_names_in_ = np.array(FEATURES, dtype=object)
    stored(tmp_path, "churn", "1", estimator, FEATURES[::-1], output="probability")
    refused(tmp_path, "it was trained on mrr, tenure, in this order")
    stored(tmp_path, "churn", "1", estimator, FEATURES, output="probability")
    assert len(FileModelRegistry(tmp_path).open("churn", "1").scores(ROWS)) == len(ROWS)


def test_an_artifact_that_is_damaged_yet_bears_its_digest_is_named(tmp_path: Path) -> None:
    place = stored(tmp_path, "churn", "1", sums(1.0), ["mrr"])
    (place / "model.joblib").write_bytes(b"rubbish")
    rewrite(place, sha256=hashlib.sha256(b"rubbish").hexdigest())
    refused(tmp_path, f"{place}/model.joblib cannot be opened")


def test_models_are_kept_by_name_version_and_digest_and_the_oldest_is_let_go(tmp_path: Path) -> None:
    registry = FileModelRegistry(tmp_path, cached_max=2)
    for version in ("1", "2", "3"):
        stored(tmp_path, "churn", version, sums(float(version)), ["mrr"])
    one = registry.open("churn", "1")
    assert registry.open("churn", "1") is one
    registry.open("churn", "2")
    assert registry.open("churn", "1") is one
    registry.open("churn", "3")
    assert registry.open("churn", "1") is one, "it was used after the second"
    stored(tmp_path, "churn", "1", sums(9.0), ["mrr"])
    assert registry.open("churn", "1") is not one, "another digest"


def test_without_the_extra_the_error_names_what_to_install(tmp_path: Path) -> None:
    stored(tmp_path, "churn", "1", sums(1.0), ["mrr"])
    program = (
        "import sys\n"
        "sys.modules['joblib'] = sys.modules['sklearn'] = None\n"
        "from pathlib import Path\n"
        "import qupersync_extractor.bootstrap\n"
        "from qupersync_extractor.infrastructure.models.registry import FileModelRegistry\n"
        "try:\n    FileModelRegistry(Path(sys.argv[1])).open('churn', '1')\n"
        "except Exception as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "pip install 'qupersync-extractor[scoring]'" in done.stdout, done.stderr
