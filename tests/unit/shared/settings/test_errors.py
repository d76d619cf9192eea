"""Every mistake in the configuration is answered with file and line, key, and cure."""

from collections.abc import Callable
from pathlib import Path

import pytest

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.settings import load
from qupersync_shared.runtime.settings.loading import require_dsn

Refused = Callable[..., ConfigurationError]
LONG = "x" * 64


@pytest.mark.parametrize(
    ("old", "new", "place", "message", "cure"),
    [
        pytest.param(
            "    key: [id]",
            "    key: [id]\n    lokback: 10m",
            "qupersync.yaml:10",
            "pipelines.cost_usage.lokback: unknown key",
            "Did you mean 'lookback'?",
            id="unknown key of a pipeline",
        ),
        pytest.param(
            "    key: [id]",
            "    key: [id]\n    quux: 10m",
            "qupersync.yaml:10",
            "pipelines.cost_usage.quux: unknown key",
            "Known here: adopt, cursor, ",
            id="unknown key without a near one",
        ),
        pytest.param(
            "pipelines:",
            "pipline: {}\npipelines:",
            "qupersync.yaml:5",
            "pipline: unknown key",
            "Did you mean 'pipelines'?",
            id="unknown section",
        ),
        pytest.param(
            "user: sync}",
            "user: sync, hosts: a}",
            "qupersync.yaml:1",
            "source.hosts: unknown key",
            "Did you mean 'host'?",
            id="unknown key of the source",
        ),
        pytest.param(
            "    key: [id]\n",
            "",
            "qupersync.yaml:6",
            "pipelines.cost_usage.key is missing",
            "Write `key: [id]`",
            id="no key",
        ),
        pytest.param(
            "    key: [id]",
            "    key: id",
            "qupersync.yaml:9",
            "pipelines.cost_usage.key is not a list",
            "Write `key: [one, two]`, also for a single one",
            id="key is no list",
        ),
        pytest.param(
            "key: [id]",
            "key: [id, id]",
            "qupersync.yaml:9",
            "pipelines.cost_usage.key: a key column stands twice",
            "Write each column once",
            id="doubled key column",
        ),
        pytest.param(
            "key: [id]", "key: []", "qupersync.yaml:9", "pipelines.cost_usage.key: ", "Mend this value", id="empty key"
        ),
        pytest.param(
            "into: public.cost_usage",
            f"into: public.{LONG}",
            "qupersync.yaml:8",
            "has 64 bytes, and PostgreSQL cuts after 63",
            "Write a shorter one",
            id="identifier over 63 bytes",
        ),
        pytest.param(
            "key: [id]",
            f"key: [{'é' * 32}]",
            "qupersync.yaml:9",
            "has 64 bytes",
            "Write a shorter one",
            id="bytes are counted, not letters",
        ),
        pytest.param(
            "into: public.cost_usage",
            "into: cost_usage",
            "qupersync.yaml:8",
            "'cost_usage' is not a schema and a table",
            "Write schema.table",
            id="table without schema",
        ),
        pytest.param(
            "key: [id]",
            "key: [id]\n    lookback: 10 minutes",
            "qupersync.yaml:10",
            "lookback: '10 minutes' is not a duration",
            "Write for instance 30s, 10m or 24h",
            id="wrong duration",
        ),
        pytest.param(
            "key: [id]",
            "key: [id]\n    lookback: 600",
            "qupersync.yaml:10",
            "lookback: 600 is not a duration",
            "Write for instance 30s",
            id="duration without a unit",
        ),
        pytest.param(
            "key: [id]",
            "key: [id]\n    lookback: 99999999999999999d",
            "qupersync.yaml:10",
            "longer than ten years",
            "Write a shorter duration",
            id="duration beyond all bounds",
        ),
        pytest.param(
            "key: [id]",
            "key: [id]\n    schedule: {every: 5m, cron: '* * * * *'}",
            "qupersync.yaml:10",
            "schedule: not one schedule",
            "Write one of {every: 15m}",
            id="two schedules",
        ),
        pytest.param(
            "key: [id]",
            "key: [id]\n    lanes: many",
            "qupersync.yaml:10",
            "lanes: input should be a valid integer",
            "Mend this value",
            id="not a number",
        ),
        pytest.param(
            "key: [id]",
            "key: [id]\n    lanes: 0",
            "qupersync.yaml:10",
            "greater than or equal to 1",
            "Mend this value",
            id="out of bounds",
        ),
        pytest.param(
            "key: [id]",
            "key: [id]\n    deletes: maybe",
            "qupersync.yaml:10",
            "'apply', 'soft' or 'keep'",
            "Mend this value",
            id="not one of the words",
        ),
        pytest.param(
            "key: [id]",
            "key: [id]\n    cursor_time_zone: Mars/Olympus",
            "qupersync.yaml:10",
            "'Mars/Olympus' is not a time zone",
            "Write for instance UTC",
            id="no such time zone",
        ),
        pytest.param(
            "    from: billing.cost_usage",
            "    from: billing.cost_usage\n    query: SELECT 1",
            "qupersync.yaml:6",
            "both from and query",
            "Write either",
            id="table and query",
        ),
        pytest.param(
            "    from: billing.cost_usage\n",
            "",
            "qupersync.yaml:6",
            "neither from nor query",
            "Write either",
            id="neither table nor query",
        ),
        pytest.param(
            "  cost_usage:",
            "  Cost-Usage:",
            "qupersync.yaml:6",
            "'Cost-Usage' must match",
            "Mend this value",
            id="pipeline name",
        ),
        pytest.param(
            "kind: redshift, ",
            "",
            "qupersync.yaml:1",
            "source.kind is missing",
            "Write `kind: redshift` or `kind: duckdb`",
            id="no kind",
        ),
        pytest.param(
            "kind: redshift",
            "kind: snowflake",
            "qupersync.yaml:1",
            "source.kind: unknown kind of source",
            "Write `kind: redshift` or `kind: duckdb`",
            id="unknown kind",
        ),
        pytest.param(
            "host: warehouse.example.com, ",
            "",
            "qupersync.yaml:1",
            "source.host is missing",
            "Add it",
            id="source without host",
        ),
        pytest.param(
            '["nats://localhost:4222"]',
            "[localhost]",
            "qupersync.yaml:3",
            "nats.servers: 'localhost' is not the address of a server",
            "Write nats://host:4222",
            id="server without scheme",
        ),
        pytest.param(
            '{dsn: "postgresql://localhost/app"}',
            '{dsn: "mysql://localhost/app"}',
            "qupersync.yaml:4",
            "target.dsn: not the address of a PostgreSQL database",
            "Write postgresql://user@host:5432/database",
            id="another database",
        ),
        pytest.param(
            '{dsn: "postgresql://localhost/app"}',
            "here",
            "qupersync.yaml:4",
            "target is not a section",
            "Write its keys below it",
            id="section is a word",
        ),
    ],
)
def test_a_mistake_names_place_key_and_cure(
    refused: Refused, valid: str, old: str, new: str, place: str, message: str, cure: str
) -> None:
    assert old in valid
    error = refused(valid.replace(old, new, 1))
    assert error.place == place
    assert message in error.message
    assert error.cure.startswith(cure)


def test_several_mistakes_are_counted(refused: Refused, valid: str) -> None:
    error = refused(valid.replace("key: [id]", "key: []\n    lanes: 0\n    lokback: 1m"))
    assert "lokback: unknown key (and 2 more to mend)" in error.message


@pytest.mark.parametrize(
    ("text", "place", "message", "cure"),
    [
        ("source:\n  kind: redshift\n   host: a\n", "qupersync.yaml:3", "not YAML: mapping values", "Mind indentation"),
        ("source:\n\tkind: redshift\n", "qupersync.yaml:2", "not YAML: found character '\\t'", "Indent with blanks"),
        ("nats: {servers: [a\n", "qupersync.yaml:2", "not YAML: ", "Mind indentation"),
        ("- source\n- nats\n", "qupersync.yaml", "not a mapping of sections", "Sections: source, outbox"),
        (
            "nats: {}\nextractor: {lease: 30s,\n  lease: 40s}\n",
            "qupersync.yaml:3",
            "extractor.lease stands twice (first on line 2)",
            "Remove one",
        ),
        ("nats: {}\n", "qupersync.yaml:1", "nats.servers is missing", "Write `servers: [nats://localhost:4222]`"),
    ],
)
def test_a_file_that_is_no_mapping_of_sections(
    refused: Refused, text: str, place: str, message: str, cure: str
) -> None:
    error = refused(text)
    assert error.place == place
    assert message in error.message
    assert error.cure.startswith(cure)


def test_a_doubled_pipeline_is_refused_where_it_stands_again(refused: Refused, valid: str) -> None:
    error = refused(valid + "  cost_usage: {from: a.b, into: c.d, key: [id]}\n")
    assert (error.place, error.message) == (
        "qupersync.yaml:10",
        "pipelines.cost_usage stands twice (first on line 6)",
    )


def test_two_pipelines_into_one_table_are_refused(refused: Refused, valid: str) -> None:
    error = refused(valid + "  other: {from: a.b, into: public.cost_usage, key: [id]}\n")
    assert error.place == "qupersync.yaml:5"
    assert "other and cost_usage both write into public.cost_usage" in error.message


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file") as caught:
        load(tmp_path / "none.yaml", {})
    assert caught.value.place == str(tmp_path / "none.yaml")
    assert "qupersync init" in caught.value.cure


def test_a_file_in_another_encoding_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("source: é".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="not UTF-8 at byte 8"):
        load(path, {})


# ------------------------------------------------------------------------------------------------------------ secrets


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ("user: sync}", "user: sync, password: hush}", 1, "source.password"),
        ("postgresql://localhost/app", "postgresql://u:hush@db.example.com/app", 4, "target.dsn"),
        ('"nats://localhost:4222"]', '"nats://n.example.com:4222"], password: hush', 3, "nats.password"),
        ('"nats://localhost:4222"]', '"nats://u:hush@n.example.com:4222"]', 3, "nats.servers"),
    ],
)
def test_a_secret_for_another_machine_is_refused_in_the_file(
    refused: Refused, valid: str, old: str, new: str, line: int, key: str
) -> None:
    assert old in valid
    error = refused(valid.replace(old, new))
    assert error.place == f"qupersync.yaml:{line}"
    assert error.message.startswith(f"{key} holds a secret for ")
    assert f"QUPERSYNC_{key.split('.', maxsplit=1)[0].upper()}__PASSWORD" in error.cure
    assert "hush" not in str(error)


def test_a_secret_for_this_machine_may_stand_in_the_file(loaded: Callable[..., object], valid: str) -> None:
    loaded(valid.replace("postgresql://localhost/app", "postgresql://u:hush@127.0.0.1/app"))


@pytest.mark.parametrize("section", ["source", "outbox", "target", "nats"])
def test_a_missing_secret_file_is_named(refused: Refused, valid: str, section: str) -> None:
    line = next(number for number, text in enumerate(valid.splitlines(), 1) if text.startswith(f"{section}:"))
    text = valid.replace(f"{section}: {{", f"{section}: {{password_file: /nowhere/secret, ")
    error = refused(text)
    assert error.place == f"qupersync.yaml:{line}"
    assert error.message == f"{section}.password_file, /nowhere/secret, cannot be used: No such file or directory"
    assert "this process may read" in error.cure


def test_an_empty_secret_file_is_no_secret(refused: Refused, valid: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    error = refused(valid.replace("target: {", f"target: {{password_file: {empty}, "))
    assert "it is empty" in error.message


@pytest.mark.parametrize("section", ["outbox", "target"])
def test_a_missing_section_or_dsn_is_said_where_it_is_needed(
    loaded: Callable[..., object], valid: str, section: str
) -> None:
    kept = "\n".join(line for line in valid.splitlines() if not line.startswith(f"{section}:"))
    configuration = loaded(kept)
    with pytest.raises(ConfigurationError, match=f"{section}.dsn is missing") as caught:
        require_dsn(section, getattr(configuration, section), "qupersync.yaml")
    assert f"QUPERSYNC_{section.upper()}__DSN" in caught.value.cure
    assert caught.value.place == "qupersync.yaml"


# -------------------------------------------------------------------------------------------------------- environment


def test_a_wrong_value_from_the_environment_names_the_variable(refused: Refused, valid: str) -> None:
    error = refused(valid, QUPERSYNC_PIPELINES__COST_USAGE__LANES="0")
    assert error.place == "environment variable QUPERSYNC_PIPELINES__COST_USAGE__LANES"
    assert "pipelines.cost_usage.lanes" in error.message


def test_an_unknown_key_from_the_environment_names_the_variable(refused: Refused, valid: str) -> None:
    error = refused(valid, QUPERSYNC_SOURCE__PASWORD="hush")
    assert error.place == "environment variable QUPERSYNC_SOURCE__PASWORD"
    assert error.cure == "Did you mean 'password'?"
    assert "hush" not in str(error)


def test_an_unknown_section_from_the_environment_is_not_passed_over(refused: Refused, valid: str) -> None:
    error = refused(valid, QUPERSYNC_SUORCE__PASSWORD="hush")
    assert error.place == "environment variable QUPERSYNC_SUORCE__PASSWORD"
    assert error.cure == "Did you mean 'source'?"


def test_a_value_below_a_value_is_refused(refused: Refused, valid: str) -> None:
    error = refused(valid, QUPERSYNC_SOURCE__HOST__NAME="x")
    assert error.place == "environment variable QUPERSYNC_SOURCE__HOST__NAME"
    assert error.message == "source.host is not a section"
