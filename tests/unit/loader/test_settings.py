"""What the loader takes from the configuration, and how it says what is missing."""

from typing import Any

import pytest

from qupersync_loader.domain.pipeline import Adopt, DeletePolicy, OnBadRow, OnTerminal, SchemaPolicy
from qupersync_loader.settings import loader_settings
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.settings import Configuration

PEOPLE = {"from": "src.people", "into": "app.people", "key": ["id"], "lanes": 2}
WHOLE: dict[str, Any] = {
    "nats": {"servers": ["nats://127.0.0.1:4222"]},
    "target": {"dsn": "postgresql://me@127.0.0.1/app"},
    "pipelines": {"people": PEOPLE},
}


def configuration(**changes: Any) -> Configuration:
    return Configuration.model_validate({**WHOLE, **changes})


def test_pipelines_get_their_policies() -> None:
    people = {
        **PEOPLE,
        "deletes": "soft",
        "on_bad_row": "halt",
        "on_terminal": "halt",
        "schema": "freeze",
        "adopt": "keep",
    }
    settings = loader_settings(configuration(pipelines={"people": people}), group="reports")
    assert settings.target_dsn == "postgresql://me@127.0.0.1/app"
    assert settings.group == "reports"
    (made,) = settings.pipelines
    assert (made.group, made.name, made.target, made.lanes) == ("reports", "people", "app.people", 2)
    assert (made.deletes, made.on_bad_row, made.on_terminal) == (DeletePolicy.SOFT, OnBadRow.HALT, OnTerminal.HALT)
    assert (made.schema_policy, made.adopt) == (SchemaPolicy.FREEZE, Adopt.KEEP)


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({"nats": None}, {}, "nats is missing"),
        ({"target": None}, {}, "target.dsn is missing"),
        ({"pipelines": {}}, {}, "pipelines is missing"),
        ({"loader": {"ack_wait": "1s"}}, {}, "loader.ack_wait is 1 s"),
        ({}, {"group": "Main!"}, "'Main!' must match"),
        ({}, {"only": ["nobody"]}, "there is no pipeline 'nobody'"),
    ],
)
def test_what_is_missing_is_named_with_a_cure(changes: dict[str, Any], arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loader_settings(configuration(**changes), **arguments)
    assert words in str(caught.value)
    assert caught.value.cure
