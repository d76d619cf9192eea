"""Rows that a model fails on are found in few calls; a model that fails as a whole is told from them."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.extractor.scoring.fakes import FakeModel, metadata, never, refusing

from qupersync_extractor.application.scoring.bisecting import NOT_FINITE, Scored, reason_of, score_rows
from qupersync_extractor.application.scoring.ports import Matrix, Model, ModelUnavailableError

PLAIN = (np.zeros((1, 1)), np.ones((1, 1)))


def column(*values: float) -> Matrix:
    return np.array([[value] for value in values], np.float64)


def scored(model: Model, matrix: Matrix, good: Sequence[Matrix] = PLAIN) -> Scored:
    return score_rows(model, matrix, known_good=lambda: good)


def test_a_page_without_a_bad_row_takes_one_call() -> None:
    model = FakeModel(metadata("a"))
    found = scored(model, column(*range(5000)))
    assert (model.calls, found.refused) == ([5000], {})
    assert found.scores.tolist() == list(map(float, range(5000)))


@settings(deadline=None)
@given(
    count=st.integers(1, 300),
    bad=st.sets(st.integers(0, 299), max_size=40),
    infinite=st.sets(st.integers(0, 299), max_size=5),
    missing=st.sets(st.integers(0, 299), max_size=5),
)
def test_just_the_bad_rows_are_refused_in_a_bounded_number_of_calls(
    count: int, bad: set[int], infinite: set[int], missing: set[int]
) -> None:
    bad, infinite, missing = ({index for index in some if index < count} for some in (bad, infinite, missing))

    def score(row: tuple[float, ...]) -> float:
        if int(row[0]) in bad:
            raise RuntimeError("no")
        return math.inf if int(row[0]) in infinite else row[0] + 0.5

    matrix = np.array([[index, np.nan if index in missing else 1.0] for index in range(count)], np.float64)
    model = FakeModel(metadata("index", "other"), score)
    found = score_rows(model, matrix, known_good=lambda: [np.array([[-1.0, 0.0]])])
    assert set(found.refused) == bad | infinite | missing
    assert all("other has no value" in found.refused[index] for index in missing)
    assert all(found.refused[index] == NOT_FINITE for index in infinite - bad - missing)
    good = [index for index in range(count) if index not in found.refused]
    assert found.scores[good].tolist() == [index + 0.5 for index in good]
    raising = len(bad - missing)
    assert len(model.calls) <= 2 + 2 * raising * (1 + math.ceil(math.log2(count + 1)))


def test_missing_values_go_to_a_model_that_takes_them() -> None:
    model = FakeModel(metadata("a"), lambda row: 1.0 if math.isnan(row[0]) else 2.0, takes_missing=True)
    assert scored(model, column(math.nan, 5)).scores.tolist() == [1.0, 2.0]


def test_a_model_that_fails_on_everything_refuses_no_row_and_is_soon_known() -> None:
    model = FakeModel(metadata("a"), never)
    with pytest.raises(ModelUnavailableError, match=r"fails on everything.*ValueError: broken for …"):
        scored(model, column(math.nan, *range(10_000)))
    assert len(model.calls) < 100
    with pytest.raises(ModelUnavailableError, match="fails on everything"):
        scored(model, column(1))


def test_where_all_rows_of_a_page_are_bad_a_row_that_is_known_to_be_good_tells_so() -> None:
    model = FakeModel(metadata("a"), refusing(lambda value: value < 100))
    with pytest.raises(ModelUnavailableError, match="fails on everything"):
        scored(model, column(1, 2, 3))
    found = scored(model, column(1, 2, 3), (*PLAIN, column(7000)))
    assert set(found.refused) == {0, 1, 2}


def test_however_many_rows_are_bad_the_others_are_scored() -> None:
    model = FakeModel(metadata("a"), refusing(lambda value: value % 2 == 1))
    found = scored(model, column(*range(2_000)))
    assert set(found.refused) == set(range(1, 2_000, 2))
    assert len(model.calls) < 2 * 2_000


class _OddShape(FakeModel):
    def scores(self, matrix: Matrix) -> Matrix:
        return np.zeros(len(matrix) + 1)


class _OutOfMemory(FakeModel):
    def scores(self, matrix: Matrix) -> Matrix:
        raise MemoryError


@pytest.mark.parametrize(("model", "said"), [(_OddShape, "one score a row is expected"), (_OutOfMemory, "memory")])
def test_what_no_row_can_be_blamed_for_is_the_models(model: type[FakeModel], said: str) -> None:
    with pytest.raises(ModelUnavailableError, match=said):
        scored(model(metadata("a")), column(1, 2))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("unknown categories [7.25] in column 3 during transform\nrow: 9"), "unknown categories […]"),
        (ValueError("unknown [np.float64(-7.0), nan]"), "unknown [np.float64(…), nan]"),
        (ValueError("could not convert 'Jane Doe' to float"), "could not convert … to float"),
        (ValueError('mrr "12" of 1e-7, -3 and +4,5'), "mrr … of …, … and …"),
        (KeyError(), "KeyError"),
        (ValueError("x" * 1000), "x" * 150),
    ],
)
def test_a_reason_says_what_was_wrong_and_holds_no_value_of_a_row(error: Exception, said: str) -> None:
    reason = reason_of(error)
    assert said in reason
    assert not any(digit in reason for digit in "1235789")
    assert len(reason) < 250
    assert "\n" not in reason
