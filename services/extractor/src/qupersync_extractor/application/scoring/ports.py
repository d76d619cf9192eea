"""What scoring needs from outside: models by name and version, and features that are not columns of the rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qupersync_shared.kernel.errors import TransientError

UNKNOWN: Final = "unknown"

Matrix = npt.NDArray[np.float64]


class ModelUnavailableError(TransientError):
    """The model as a whole cannot score: it is missing, damaged, of another version, or fails on everything."""


class Output(StrEnum):
    """What a model's score is: the probability of class 1, or the value that it predicts."""

    PROBABILITY = "probability"
    VALUE = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """What is known of a model without opening it. `features` stand in the order of the matrix's columns.

    `example` holds one value a feature that the model can score. `digest` is the artifact's SHA-256, in hexadecimal.
    """

    version: str
    artifact: str
    digest: str
    features: tuple[str, ...]
    output: Output
    framework: str
    framework_version: str
    created_at: datetime
    example: tuple[float, ...] | None = None


class Model(Protocol):
    """An opened model. `takes_missing`: NaN stands for a value that is missing; else no row may lack one."""

    @property
    def metadata(self) -> ModelMetadata: ...
    @property
    def takes_missing(self) -> bool: ...

    def scores(self, matrix: Matrix) -> Matrix:
        """One score a row, for a matrix of at least one row and a column a feature. Any exception is the model's."""
        ...


class ModelRegistry(Protocol):
    """Models by name and version. Its calls read files: they belong into a thread."""

    def described(self, model: str, version: str) -> dict[str, Any]:
        """The metadata as it stands in the registry; `{"version": "unknown"}` for a model that is not there."""
        ...

    def metadata(self, model: str, version: str) -> ModelMetadata:
        """The metadata, checked; ModelUnavailableError names the path where it is missing or wrong."""
        ...

    def open(self, model: str, version: str) -> Model:
        """The model, from memory if it was opened before; its digest is checked before anything of it is opened.

        ModelUnavailableError where it is missing, damaged or cannot be opened.
        """
        ...


class FeatureSource(Protocol):
    """Features of rows that are not among their columns, for instance from the warehouse's other tables.

    `names` are those it offers. The answers depend on the source's content alone, never on a clock: the same content
    gives the same scores.
    """

    @property
    def names(self) -> frozenset[str]: ...

    async def features(self, names: Sequence[str], batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """One array for each of these names, aligned with the batch's rows; NULL where a row has no such value.

        Arrays are numbers or booleans. `batch` has all source columns, the key among them, and at least one row.
        TransientError (SourceUnavailableError) when a later try may succeed.
        """
        ...
