"""DuckDB over files that queries name, with no database of its own."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.domain.pipeline import SourceQuery, SourceTable
from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
from qupersync_extractor.infrastructure.sources.duckdb import DuckDbSource
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import SourceUnavailableError, TerminalError, TransientError


async def whole(query: str) -> list[dict[str, Any]]:
    source = DuckDbSource(None)
    try:
        relation = SourceQuery(query)
        schema = RowSchema(columns=await source.describe(relation), key=("id",))
        wanted = KeyRange(after=None)
        batch = await source.read(ReadRequest(relation=relation, schema=schema, range=wanted, limit=1000))
        assert await source.count_duplicate_keys(relation, ("id",)) == 0
        return list(batch.to_pylist())
    finally:
        await source.close()


async def test_parquet_and_csv_are_read_and_joined(tmp_path: Path) -> None:
    amounts = pa.array([Decimal("1.25"), None], pa.decimal128(38, 2))
    parquet.write_table(pa.table({"id": [1, 2], "amount": amounts}), tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("id,name\n1,one\n2,two\n", encoding="utf-8")
    joined = f"SELECT * FROM '{tmp_path}/a.parquet' JOIN read_csv('{tmp_path}/b.csv') USING (id)"
    assert await whole(joined) == [
        {"id": 1, "amount": Decimal("1.25"), "name": "one"},
        {"id": 2, "amount": None, "name": "two"},
    ]


async def test_what_a_query_makes_is_gone_with_its_call() -> None:
    assert await whole("SELECT 1 AS id") == [{"id": 1}]
    with pytest.raises(TransientError, match="query cannot be read from DuckDB without a file") as caught:
        await whole("SELECT * FROM elsewhere")
    assert "source.path" in caught.value.cure


async def test_a_table_has_no_place(tmp_path: Path) -> None:
    source = DuckDbSource(None)
    with pytest.raises(TransientError, match=r"raw\.customers cannot be read") as caught:
        await source.describe(SourceTable("raw", "customers"))
    assert "read_parquet" in caught.value.cure
    await source.close()
    with pytest.raises(TerminalError, match="there is no file"), DuckDbFile(None).writing("rows"):
        pass


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"PAR1 and half of a file that is being written"])
async def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(SourceUnavailableError, match=r"a\.parquet") as caught:
        await whole(f"SELECT * FROM read_parquet('{tmp_path}/a.parquet')")
    assert "must exist" in caught.value.cure


async def test_a_line_that_does_not_fit_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("id,name\n1,one\ntwo,2\n", encoding="utf-8")
    with pytest.raises(TerminalError, match=r"b\.csv"):
        await whole(f"SELECT * FROM read_csv('{tmp_path}/b.csv', types = {{'id': 'INTEGER'}})")


async def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    file = DuckDbFile(tmp_path / "w.duckdb")
    with file.writing("rows") as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")

    def write(values: str, divisor: int) -> float:
        with file.writing("rows") as connection:
            connection.execute(f"INSERT INTO t VALUES {values}")
            return 1 / divisor

    with pytest.raises(TerminalError, match=r"rows cannot be written to .*w\.duckdb: .*duplicate key"):
        write("(1), (1)", 1)
    with pytest.raises(ZeroDivisionError):
        write("(2)", 0)
    with file.reading("rows") as connection:
        assert connection.execute("SELECT * FROM t").fetchall() == []
        with pytest.raises(duckdb.InvalidInputException, match="read-only"):
            connection.execute("INSERT INTO t VALUES (3)")
