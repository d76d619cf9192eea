"""What every model registry does."""

import numpy as np
import pytest
from tests.conformance.models.conftest import Harness

from qupersync_extractor.application.scoring.ports import ModelUnavailableError


def test_a_model_is_found_by_name_and_version_and_scores(harness: Harness) -> None:
    harness.put("churn", "1", 2.0, 3.0)
    harness.put("churn", "2", 5.0)
    harness.put("value", "1", 7.0)

    one = harness.registry.open("churn", "1")
    assert one.metadata == harness.registry.metadata("churn", "1")
    assert (one.metadata.version, one.metadata.features) == ("1", ("f0", "f1"))
    assert one.scores(np.array([[1.0, 1.0], [10.0, 0.0]])) == pytest.approx([5.0, 20.0])
    assert not one.takes_missing
    assert harness.registry.open("churn", "2").scores(np.array([[2.0]])) == pytest.approx([10.0])
    assert harness.registry.open("value", "1").scores(np.array([[2.0]])) == pytest.approx([14.0])
    assert harness.registry.described("churn", "2")["version"] == "2"


@pytest.mark.parametrize("name", [("churn", "9"), ("other", "1")])
def test_the_metadata_of_a_missing_model_is_unknown_and_it_is_never_opened(
    harness: Harness, name: tuple[str, str]
) -> None:
    harness.put("churn", "1", 1.0)
    assert harness.registry.described(*name) == {"version": "unknown"}
    for attempt in (harness.registry.metadata, harness.registry.open):
        with pytest.raises(ModelUnavailableError, match=f"model {name[0]} has no version {name[1]}"):
            attempt(*name)


def test_a_model_that_cannot_be_opened_is_unavailable_until_it_is_put_there_again(harness: Harness) -> None:
    harness.put("churn", "1", 1.0)
    harness.damage("churn", "1")
    with pytest.raises(ModelUnavailableError):
        harness.registry.open("churn", "1")
    harness.put("churn", "1", 4.0)
    assert harness.registry.open("churn", "1").scores(np.array([[2.0]])) == pytest.approx([8.0])
