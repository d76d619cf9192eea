"""Scores of a page in as few calls as can be: all rows at once, halves where the model fails, down to single rows.

A page without a bad row takes one call; k bad rows among n take about 2k·log2(n/k) more, and never more than 2n. The
model fails as a whole when not one row can be scored, and neither can a row that it must be able to score
(`known_good`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from qupersync_extractor.application.refused import without_values
from qupersync_extractor.application.scoring.ports import Matrix, Model, ModelMetadata, ModelUnavailableError

NOT_FINITE: Final = "the model's score is not a finite number"
_SINGLES_BEFORE_DOUBT: Final = 32
_REASON_MAX: Final = 200
_MEND: Final = "Mend the model, or pin another version; the pipeline goes on by itself"


@dataclass(slots=True)
class Scored:
    """A score for each row, and why some rows have none (by index)."""

    scores: Matrix
    refused: dict[int, str] = field(default_factory=dict)


def score_rows(model: Model, matrix: Matrix, *, known_good: Callable[[], Sequence[Matrix]]) -> Scored:
    """The scores of these rows; ModelUnavailableError where the model fails as a whole.

    `known_good` tells rows (matrices of one row) of which the model can score at least one if it is whole.
    """
    found = Scored(scores=np.full(len(matrix), np.nan))
    rows = np.arange(len(matrix))
    if not model.takes_missing:
        rows = _without_missing(model, matrix, found)
    if len(rows):
        _Search(model=model, matrix=matrix, found=found, known_good=known_good).score(rows)
    for index in np.flatnonzero(~np.isfinite(found.scores)):
        found.refused.setdefault(int(index), NOT_FINITE)
    return found


def plain_rows(metadata: ModelMetadata) -> list[Matrix]:
    """Rows that a whole model may be expected to score: its metadata's example, and rows of zeros and of ones."""
    count = len(metadata.features)
    example = [] if metadata.example is None else [np.array([metadata.example], np.float64)]
    return [*example, np.zeros((1, count)), np.ones((1, count))]


def is_whole(model: Model, rows: Sequence[Matrix]) -> bool:
    """Whether the model can score one of these rows."""
    for row in rows:
        try:
            scores = _call(model, row)
        except ModelUnavailableError:
            raise
        except Exception:  # noqa: BLE001, S112  # one of several that are tried
            continue
        if np.isfinite(scores).all():
            return True
    return False


def reason_of(error: Exception) -> str:
    """What a model said, in one line, without the numbers and quoted texts that may be a row's values."""
    lines = str(error).strip().splitlines()
    said = without_values(lines[0]) if lines else ""
    shown = said if len(said) <= _REASON_MAX else said[: _REASON_MAX - 1] + "…"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


@dataclass(slots=True, kw_only=True)
class _Search:
    model: Model
    matrix: Matrix
    found: Scored
    known_good: Callable[[], Sequence[Matrix]]
    failed: int = 0
    said: str = ""
    succeeded: bool = False
    doubted: bool = False

    def score(self, rows: np.ndarray) -> None:
        pending = [rows]
        while pending:
            part = pending.pop()
            try:
                scores = _call(self.model, self.matrix[part])
            except ModelUnavailableError:
                raise
            except MemoryError as error:
                raise self._whole("for want of memory") from error
            except Exception as error:  # noqa: BLE001  # whatever a model raises, it says it of these rows
                if len(part) > 1:
                    middle = len(part) // 2
                    pending += [part[middle:], part[:middle]]
                    continue
                self.failed += 1
                self.said = self.said or reason_of(error)
                self.found.refused[int(part[0])] = f"the model refuses the row: {reason_of(error)}"
                if self.failed == _SINGLES_BEFORE_DOUBT:
                    self._doubt()
            else:
                self.found.scores[part] = scores
                self._note(scores)
        self._doubt()

    def _note(self, scores: Matrix) -> None:
        """An answer without one finite number proves a model no more than an error does."""
        if np.isfinite(scores).any():
            self.succeeded = True
        else:
            self.said = self.said or NOT_FINITE

    def _doubt(self) -> None:
        """Whether it is the rows: where nothing was scored yet, a row that is known to be good must be."""
        if self.succeeded or self.doubted:
            return
        self.doubted = True
        if not is_whole(self.model, self.known_good()):
            raise self._whole(f"on everything, for instance: {self.said}")

    def _whole(self, what: str) -> ModelUnavailableError:
        return ModelUnavailableError(f"the model fails {what}", cure=_MEND)


def _without_missing(model: Model, matrix: Matrix, found: Scored) -> np.ndarray:
    """The rows that lack no feature."""
    missing = np.isnan(matrix)
    lacking = missing.any(axis=1)
    for index in np.flatnonzero(lacking):
        name = model.metadata.features[int(np.argmax(missing[index]))]
        found.refused[int(index)] = (
            f"feature {name} has no value (NULL or NaN), and the model takes none that is missing"
        )
    return np.flatnonzero(~lacking)


def _call(model: Model, matrix: Matrix) -> Matrix:
    scores = model.scores(matrix)
    if scores.shape != (len(matrix),):
        raise ModelUnavailableError(
            f"the model answers {scores.shape} for {len(matrix)} rows, and one score a row is expected", cure=_MEND
        )
    return scores
