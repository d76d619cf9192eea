"""A DuckDB source with and without a file, and the ready-made pipelines over it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.settings import Configuration, DuckDbSource

Loaded = Callable[..., Configuration]
Refused = Callable[..., ConfigurationError]
QUERY = "pipelines: {rows: {query: SELECT * FROM 'a.parquet', into: public.rows, key: [id]}}"
TABLE = "pipelines: {rows: {from: main.rows, into: public.rows, key: [id]}}"


def test_queries_over_files_need_no_database(loaded: Loaded) -> None:
    configuration = loaded(f"source: {{kind: duckdb}}\n{QUERY}")
    assert isinstance(configuration.source, DuckDbSource)
    assert configuration.source.path is None


def test_tables_do(loaded: Loaded, refused: Refused) -> None:
    assert loaded(f"source: {{kind: duckdb, path: w.duckdb}}\n{TABLE}").source == DuckDbSource(
        kind="duckdb", path=Path("w.duckdb")
    )
    error = refused(f"source: {{kind: duckdb}}\n{TABLE}")
    assert "pipeline rows reads a table, and source names no DuckDB file" in error.message
    assert error.cure.startswith("Write its path into source, or a query")
    assert "no DuckDB file" in refused("source: {kind: duckdb}\ninclude: [warehouse]").message


@pytest.mark.parametrize("path", [":memory:", ":memory:shared"])
def test_a_database_in_memory_has_no_path(refused: Refused, path: str) -> None:
    error = refused(f"source: {{kind: duckdb, path: '{path}'}}")
    assert error.message == "source.path: a database in memory has no path"


def test_the_warehouse_is_two_pipelines(loaded: Loaded) -> None:
    found = loaded("source: {kind: duckdb, path: w.duckdb}\ninclude: [warehouse]").pipelines
    assert {name: (one.from_, one.key, one.cursor) for name, one in found.items()} == {
        "customers": ("raw.customers", ["customer_id"], None),
        "usage_events": ("raw.usage_events", ["event_id"], "timestamp"),
    }
