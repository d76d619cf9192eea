"""A model whose output is a value: the same row has the same score, whichever rows stand beside it."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qupersync_extractor.infrastructure.models.estimator import VALUE_DIGITS, _significant


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20))
def test_values_keep_their_significant_digits(values: list[float]) -> None:
    for before, after in zip(values, _significant(np.array(values)).tolist(), strict=True):
        if math.isfinite(before) and 1e-250 < abs(before) < 1e250:
            assert math.isclose(after, float(f"{before:.{VALUE_DIGITS - 1}e}"), rel_tol=10.0 ** (1 - VALUE_DIGITS))
        else:
            assert after == before or (math.isnan(after) and math.isnan(before))


@given(st.floats(1e-200, 1e200))
def test_last_digits_do_not_count(value: float) -> None:
    near = np.array([value, value * (1 + 2**-50), value * (1 - 2**-50)])
    first, *others = _significant(near).tolist()
    assert all(math.isclose(other, first, rel_tol=2 * 10.0 ** (1 - VALUE_DIGITS)) for other in others)
