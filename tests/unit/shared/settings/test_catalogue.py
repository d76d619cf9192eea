"""Ready-made pipelines: what `include` and `entity` make of a file, and what they refuse."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.settings import Configuration, load
from qupersync_shared.runtime.settings.catalogue import ENTITIES, SETS

REDSHIFT = "source: {kind: redshift, host: localhost, database: dev, user: sync, password: x}\n"
DUCKDB = "source: {kind: duckdb, path: warehouse.duckdb}\n"

Read = Callable[[str], Configuration]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def loaded(text: str) -> Configuration:
        path = tmp_path / "qupersync.yaml"
        path.write_text(text, "utf-8")
        return load(path, {})

    return loaded


def test_a_set_brings_its_pipelines_with_their_own_keys(read: Read) -> None:
    pipelines = read(REDSHIFT + "include: [redshift_health]\n").pipelines
    assert set(pipelines) == {"table_stats", "query_history", "vacuum_history", "node_details"}
    history = pipelines["query_history"]
    assert (history.of_views, history.key, history.cursor) == ("query_history", ["query_id"], "end_time")
    assert (history.into, history.deletes) == ("public.query_history", "keep")
    assert pipelines["table_stats"].cursor is None


def test_what_is_written_overrides_key_by_key(read: Read) -> None:
    text = "include: [redshift_health]\npipelines:\n  query_history: {into: ops.queries, lookback: 2h}\n"
    history = read(REDSHIFT + text).pipelines["query_history"]
    assert (history.into, history.lookback, history.cursor) == ("ops.queries", timedelta(hours=2), "end_time")


def test_an_entity_may_have_another_name_and_another_table(read: Read) -> None:
    text = "pipelines:\n  bill: {entity: cost_usage, from: finance.bill, into: public.bill}\n"
    bill = read(text).pipelines["bill"]
    assert (bill.from_, bill.into, bill.key, bill.of_views) == ("finance.bill", "public.bill", ["id"], None)
    queried = read("pipelines:\n  bill: {entity: cost_usage, query: SELECT 1}\n").pipelines["bill"]
    assert (queried.from_, queried.query) == (None, "SELECT 1")


@pytest.mark.parametrize("name", [*SETS, *ENTITIES])
def test_everything_ready_made_is_a_whole_configuration(read: Read, name: str) -> None:
    entities = SETS.get(name, (name,))
    sources = {ENTITIES[entity].source for entity in entities}
    text = DUCKDB if sources == {"duckdb"} else REDSHIFT
    assert set(read(text + f"include: [{name}]\n").pipelines) == set(entities)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("include: [redshift_heath]\n", "nothing ready-made named 'redshift_heath'"),
        ("include: redshift_health\n", "include is not a list"),
        (DUCKDB + "include: [redshift_health]\n", "whose source is redshift, not duckdb"),
        ("pipelines:\n  a: {entity: nope}\n", "entity 'nope' is unknown"),
        ("pipelines:\n  a: {entity: query_history, from: a.b}\n", "neither from nor query"),
        ("include: [cost_usage]\npipelines:\n  b: {entity: cost_usage}\n", "both write into public.cost_usage"),
        ("pipelines:\n  a: {entity: cost_usage, verify: continuous}\n", "a comparison is no stream"),
        ("pipelines:\n  a: {entity: cost_usage, score: {model: m, version: '1', into: s}}\n", "where models are"),
        ("include: [cost_usage]\npipelines: {cost_usage: {loockback: 1m}}\n", "pipelines.cost_usage.loockback"),
    ],
)
def test_what_does_not_fit_is_refused(read: Read, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words.replace("[", r"\[")):
        read(text)
