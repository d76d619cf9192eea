"""Values that cannot travel: query texts are cut within a character, and real clusters hold bytes that are no UTF-8."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from tests.unit.extractor.sources.catalogue.scripted import Scripted

from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.application.refused import REFUSED_COLUMN, Refusals, without_refusals
from qupersync_extractor.domain.catalogue import query_hash
from qupersync_extractor.domain.pipeline import SourceEntity
from qupersync_extractor.infrastructure.sources.catalogue import CatalogueSource
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.errors import TerminalError

NOW = datetime.now(UTC).replace(tzinfo=None)
ENTITY = SourceEntity("query_history")
SEES_ALL = {"user_id": 7, "sees_all": True}


def reason(column: str) -> str:
    """As the adapters write it."""
    schema = RowSchema(
        columns=(Column("id", LogicalType(Kind.INTEGER)), Column(column, LogicalType(Kind.VARCHAR))), key=("id",)
    )
    refusals = Refusals(schema, 1)

    def fails(start: int, end: int) -> pa.Array:
        raise ValueError("invalid UTF-8")

    refusals.column(schema.column(column), fails)
    _, told = without_refusals(refusals.batch([pa.array([1], pa.int32()), pa.array([None], pa.string())]))
    assert told is not None
    return str(told[0])


def query(query_id: int, **changes: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("execution_time_us", "queue_time_us", "compile_time_us", "rows_returned"), 1)
    row = {"query_id": query_id, "status": "success", "start_time": NOW, "end_time": NOW, "session_id": 5, **counts}
    return {**row, "query_text": f"SELECT {query_id}", **changes}


async def read(source: Scripted) -> pa.RecordBatch:
    catalogue = CatalogueSource(source, user="u", place="p")
    schema = RowSchema(columns=await catalogue.describe(ENTITY), key=("query_id",))
    batch = await catalogue.read(ReadRequest(relation=ENTITY, schema=schema, range=KeyRange(after=None), limit=10))
    assert batch.schema.names == [*schema.names, REFUSED_COLUMN] or batch.schema.equals(schema.arrow())
    return batch


async def test_a_text_that_was_cut_within_a_character_costs_no_row() -> None:
    source = Scripted(
        {
            "svv_user_info": [SEES_ALL],
            "sys_query_history": [query(1), query(2, query_text=None, refused=reason("query_text")), query(3)],
            "sys_query_text": [
                {"query_id": 2, "pieces": 3, "sequence": 2, "piece": "FROM t"},
                {"query_id": 2, "pieces": 3, "sequence": 1, "piece": None, "refused": reason("piece")},
                {"query_id": 2, "pieces": 3, "sequence": 0, "piece": "SELECT a"},
            ],
        }
    )
    batch = await read(source)
    assert REFUSED_COLUMN not in batch.schema.names
    assert batch.column("query_id").to_pylist() == [1, 2, 3]
    assert batch.column("query_hash").to_pylist() == [
        query_hash("SELECT 1"),
        query_hash("SELECT a FROM t"),
        query_hash("SELECT 1"),
    ]


async def test_a_refused_value_of_the_entity_is_told_with_its_row() -> None:
    told = reason("error_message")
    source = Scripted(
        {
            "svv_user_info": [SEES_ALL],
            "sys_query_history": [query(1), query(2, refused=told), query(3)],
            "sys_connection_log": [
                {"session_id": 5, "record_time": NOW, "application_name": None, "refused": reason("application_name")}
            ],
        }
    )
    batch = await read(source)
    assert batch.column(REFUSED_COLUMN).to_pylist() == [None, told, None]
    assert batch.column("application_name").to_pylist() == [None, None, None]


async def test_a_source_that_fails_fails_the_page() -> None:
    rows = {"svv_user_info": [SEES_ALL], "sys_query_history": [query(1)]}
    for view in ("sys_query_history", "sys_query_detail", "sys_connection_log"):
        with pytest.raises(TerminalError, match="broken"):
            await read(Scripted(rows, errors={view: TerminalError("broken")}))
    # Another form of it than is documented: then nobody knows whether all is shown, and reading goes on.
    assert (await read(Scripted(rows, errors={"svv_user_info": TerminalError("no such column")}))).num_rows == 1


async def test_an_empty_page_asks_for_nothing_more() -> None:
    source = Scripted({"svv_user_info": [SEES_ALL]})
    assert (await read(source)).num_rows == 0
    assert source.asked == ["svv_user_info", "sys_query_history"]
