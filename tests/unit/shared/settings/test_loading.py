"""What a valid configuration says, and what the environment changes."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupersync_shared.runtime.cli.starting import template
from qupersync_shared.runtime.settings import Configuration, RedshiftSource, load
from qupersync_shared.runtime.settings.loading import require_dsn
from qupersync_shared.runtime.settings.units import format_duration, parse_duration, parse_size

Loaded = Callable[..., Configuration]


def test_defaults_fill_what_is_not_said(loaded: Loaded, valid: str) -> None:
    configuration = loaded(valid)
    pipeline = configuration.pipelines["cost_usage"]
    assert (pipeline.lanes, pipeline.page_rows, pipeline.deletes) == (4, 40_000, "apply")
    assert pipeline.schedule.every == timedelta(minutes=15)
    assert configuration.loader.group == "main"


def test_secrets_come_from_the_environment(loaded: Loaded, valid: str) -> None:
    configuration = loaded(
        valid, QUPERSYNC_SOURCE__PASSWORD="0123", QUPERSYNC_TARGET__DSN="postgresql://u:p@db.example.com/app"
    )
    assert isinstance(configuration.source, RedshiftSource)
    assert configuration.source.password is not None
    assert configuration.source.password.get_secret_value() == "0123"
    assert require_dsn("target", configuration.target) == "postgresql://u:p@db.example.com/app"
    assert "0123" not in repr(configuration)


def test_the_environment_outranks_the_file_and_makes_sections(loaded: Loaded) -> None:
    configuration = loaded(
        "source: {kind: redshift, host: a, database: d, user: u}\n",
        QUPERSYNC_SOURCE__HOST="b",
        QUPERSYNC_SOURCE__DATABASE="2024",
        QUPERSYNC_SOURCE__PORT="5440",
        QUPERSYNC_NATS__SERVERS="nats://a:4222, nats://b:4222",
        QUPERSYNC_LOADER__ACK_WAIT="90s",
        QUPERSYNC_PIPELINES__COST__FROM="a.b",
        QUPERSYNC_PIPELINES__COST__INTO="c.d",
        QUPERSYNC_PIPELINES__COST__KEY="[id]",
        QUPERSYNC_PIPELINES__COST__SNAPSHOT_EVERY="null",
    )
    assert isinstance(configuration.source, RedshiftSource)
    assert (configuration.source.host, configuration.source.database, configuration.source.port) == ("b", "2024", 5440)
    assert configuration.nats is not None
    assert configuration.nats.servers == ["nats://a:4222", "nats://b:4222"]
    assert configuration.loader.ack_wait == timedelta(seconds=90)
    assert configuration.pipelines["cost"].key == ["id"]
    assert configuration.pipelines["cost"].snapshot_every is None


def test_other_variables_and_empty_secrets_are_left_alone(loaded: Loaded, valid: str) -> None:
    configuration = loaded(
        valid, QUPERSYNC_TEST_DSN="x", QUPERSYNC_DEBUG="1", QUPERSYNC_SOURCE__PASSWORD="", OTHER__SOURCE__HOST="z"
    )
    assert isinstance(configuration.source, RedshiftSource)
    assert configuration.source.password is None
    assert configuration.source.host == "warehouse.example.com"


def test_secrets_come_from_files(loaded: Loaded, valid: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("p@ss/word \n")
    text = valid.replace("target: {dsn: ", f"target: {{password_file: {secret}, dsn: ")
    configuration = loaded(text.replace("//localhost/app", "//app@db.example.com/app"))
    assert require_dsn("target", configuration.target) == "postgresql://app:p%40ss%2Fword@db.example.com/app"


def test_the_environment_outranks_a_secret_file(loaded: Loaded, valid: str) -> None:
    text = valid.replace("user: sync}", "user: sync, password_file: /nowhere}")
    configuration = loaded(text, QUPERSYNC_SOURCE__PASSWORD="given")
    assert isinstance(configuration.source, RedshiftSource)
    assert configuration.source.password is not None


def test_the_path_comes_from_the_variable(tmp_path: Path, valid: str) -> None:
    path = tmp_path / "elsewhere.yaml"
    path.write_text(valid)
    assert load(None, {"QUPERSYNC_CONFIG": str(path)}).pipelines


def test_sections_with_nothing_but_comments_are_absent(loaded: Loaded, valid: str) -> None:
    configuration = loaded(valid + "extractor:\n  # lease: 30s\nloader:\n")
    assert configuration.extractor.lease == timedelta(seconds=30)


@pytest.mark.parametrize("name", ["duckdb", "redshift", "schedule", "source"])
def test_a_pipeline_may_have_the_name_of_something_else(loaded: Loaded, valid: str, name: str) -> None:
    assert name in loaded(valid.replace("cost_usage:", f"{name}:")).pipelines


@pytest.mark.parametrize("text", ["", "pipelines:\n", "{}"])
def test_an_empty_configuration_is_valid(loaded: Loaded, text: str) -> None:
    assert loaded(text).pipelines == {}


@given(st.integers(min_value=0, max_value=3650 * 86_400_000))
def test_durations_are_read_back_as_written(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "size"), [("512KiB", 524_288), ("64MiB", 64 << 20), ("1GB", 10**9), (900_000, 900_000)]
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["1.5GiB", "12", "GiB", "5 parsecs", True, None, []])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="write for instance 512KiB"):
        parse_size(text)


def test_the_written_template_loads_and_names_every_option(loaded: Loaded) -> None:
    text = template()
    assert loaded(text).pipelines
    assert ", or continuous" in text
    missing = [name for name in _options(Configuration) if not re.search(rf"[ {{\n]{name}:", text)]
    assert missing == ["continuous"], "it is written as a word of its own"


def test_the_templates_commented_defaults_are_the_defaults(loaded: Loaded) -> None:
    """Uncommenting the options changes nothing."""
    text = template()
    option = re.compile(
        r"^( *)# ( *(?!password|dsn_file|adopt|user|qupersync|verify|score|entity|models|budget|maintenance|control)"
        r"(?!probes)[a-z_]+:(?! …)(?: |$))",
        re.MULTILINE,
    )
    with_all = option.sub(r"\1\2", text)
    assert "safety_lag: 30s" in with_all
    assert loaded(with_all) == loaded(text)


def _options(model: object) -> set[str]:
    from qupersync_shared.runtime.settings.loading import _models_in

    found: set[str] = set()
    for current in _models_in(model):
        for name, field in current.model_fields.items():
            found.add(field.alias or name)
            found |= _options(field.annotation) if _models_in(field.annotation) else set()
    return found
