"""Models of scikit-learn's manner, opened from bytes whose digest was checked before."""

import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any, BinaryIO, Final

import numpy as np

from qupersync_extractor.application.scoring.ports import Matrix, ModelMetadata, ModelUnavailableError, Output
from qupersync_shared.runtime.logs import get_logger

PROBABILITY_DECIMALS: Final = 12
VALUE_DIGITS: Final = 12
_LEAST: Final = 1e-250
_EXTRA: Final = "pip install 'qupersync-extractor[scoring]'"
_log = get_logger(__name__)


class EstimatorModel:
    """An estimator with `predict_proba` or `predict`, which takes a matrix of the features in their order."""

    def __init__(self, estimator: Any, metadata: ModelMetadata, *, place: str) -> None:
        self._estimator = estimator
        self._metadata = metadata
        self._place = place
        self._check_features()
        self._column = self._class_one() if metadata.output is Output.PROBABILITY else None
        if self._column is None and not hasattr(estimator, "predict"):
            raise self._unfit("it has no predict, and its output is to be a value")
        self._takes_missing = _allows_nan(estimator)

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    @property
    def takes_missing(self) -> bool:
        return self._takes_missing

    def scores(self, matrix: Matrix) -> Matrix:
        # The last digits depend on which rows stand in one matrix: with them, rows would seem changed in every page.
        if self._column is None:
            return _significant(np.asarray(self._estimator.predict(matrix), np.float64).reshape(-1))
        every = np.asarray(self._estimator.predict_proba(matrix), np.float64)
        return np.round(every[:, self._column], PROBABILITY_DECIMALS)

    def _check_features(self) -> None:
        wanted = self._metadata.features
        named = getattr(self._estimator, "feature_names_in_", None)
        if named is not None and tuple(map(str, named)) != wanted:
            raise self._unfit(f"it was trained on {', '.join(map(str, named))}, in this order")
        count = getattr(self._estimator, "n_features_in_", None)
        if count is not None and int(count) != len(wanted):
            raise self._unfit(f"it was trained on {count} features, and {len(wanted)} are listed")

    def _class_one(self) -> int:
        classes = getattr(self._estimator, "classes_", None)
        if not hasattr(self._estimator, "predict_proba") or classes is None:
            raise self._unfit("it tells no probabilities of classes, and its output is to be one")
        known = list(classes)
        if 1 not in known:
            raise self._unfit(f"it knows no class 1, only {', '.join(map(str, known))}")
        return known.index(1)

    def _unfit(self, why: str) -> ModelUnavailableError:
        return ModelUnavailableError(
            f"the model in {self._place} is not what its metadata says: {why}",
            cure="Write the metadata that the training script knows",
        )


def _significant(values: Matrix) -> Matrix:
    """The values to VALUE_DIGITS significant digits; what is not finite, zero or beyond all measure stays as it is."""
    size = np.abs(values)
    measured = np.isfinite(values) & (size > _LEAST) & (size < 1 / _LEAST)
    factors = 10.0 ** (VALUE_DIGITS - 1 - np.floor(np.log10(np.where(measured, size, 1.0))))
    rounded: Matrix = np.where(measured, np.round(np.where(measured, values, 0.0) * factors) / factors, values)
    return rounded


def opened(stored: BinaryIO, metadata: ModelMetadata, *, place: str) -> EstimatorModel:
    """The model; ModelUnavailableError where it cannot be opened. Opening runs what the artifact says."""
    try:
        import joblib
    except ImportError as error:
        raise ModelUnavailableError("models cannot be opened: joblib is not installed", cure=_EXTRA) from error
    _warn_of_versions(metadata, place)
    try:
        # A model that was trained on a table knows its columns' names, and would say so of every matrix without them.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        estimator = joblib.load(stored)
    except ModuleNotFoundError as error:
        raise ModelUnavailableError(
            f"{place} cannot be opened: {error}", cure=f"{_EXTRA}, and whatever else the model was made with"
        ) from error
    except Exception as error:
        raise ModelUnavailableError(
            f"{place} cannot be opened: {type(error).__name__}: {error}",
            cure=f"Store it with joblib.dump, by {metadata.framework} as it is installed here",
        ) from error
    return EstimatorModel(estimator, metadata, place=place)


def installed(framework: str) -> str | None:
    """The version of a framework as it is installed here."""
    try:
        return version(framework)
    except PackageNotFoundError:
        return None


def _warn_of_versions(metadata: ModelMetadata, place: str) -> None:
    here = installed(metadata.framework)
    if here != metadata.framework_version:
        _log.warning(
            "model_of_another_version",
            artifact=place,
            framework=metadata.framework,
            trained_with=metadata.framework_version,
            installed=here,
        )


def _allows_nan(estimator: Any) -> bool:
    """Whether the estimator says of itself that NaN may stand for a missing value."""
    try:
        from sklearn.utils import get_tags

        return bool(get_tags(estimator).input_tags.allow_nan)
    except Exception:  # noqa: BLE001  # what says nothing of missing values gets none
        return False
