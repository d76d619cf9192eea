"""Finished queries, field by field, with what makes system views hard to read."""

from typing import Any

import pytest
from tests.integration.sources.catalogue.conftest import Make
from tests.integration.sources.catalogue.seeds import Seeds, after, incremental, schema_of, snapshot

from qupersync_extractor.application.ports import KeyList, ReadRequest
from qupersync_extractor.domain.catalogue import QueryHistory, query_hash
from qupersync_extractor.domain.pipeline import SourceEntity
from qupersync_extractor.infrastructure.memory.remembered import MemoryRemembered
from qupersync_extractor.infrastructure.sources.catalogue import CatalogueSource, query_history
from qupersync_local.standin import FaultBook
from qupersync_shared.kernel.positions import Scalar, ScalarKind

KEY = ["query_id"]
NAME = "query_history"
MIB = 1_048_576


async def one(source: CatalogueSource) -> dict[str, Any]:
    (row,) = await snapshot(source, NAME, KEY)
    return row


@pytest.mark.usefixtures("protocol")
async def test_every_field(catalogue: CatalogueSource, seeds: Seeds) -> None:
    await seeds.query(
        7,
        username="Ana María",
        status="canceled",
        query_type="UNLOAD",
        error_message="  Query (7) cancelled on user's request",
        query_text="SELECT  a\nFROM t -- why\nWHERE id = 42",
        returned_rows=None,
        compile_time=None,
    )
    await seeds.add("sys_connection_log", {"session_id": 1007, "record_time": after(), "application_name": "etl"})
    await seeds.add(
        "sys_query_detail",
        *(
            {
                "user_id": 101,
                "query_id": 7,
                "metrics_level": level,
                "blocks_read": blocks,
                "spilled_block_local_disk": local,
                "spilled_block_remote_disk": remote,
            }
            for level, blocks, local, remote in (
                ("query", 12, 1536, 512),
                ("child query", 5, 1024, 512),
                ("child query", 7, 512, None),
                ("stream", 12, 1536, 512),
                ("segment", 12, 1536, 512),
                ("step", 12, 1536, 512),
            )
        ),
    )
    row = await one(catalogue)
    assert row == {
        "query_id": 7,
        "query_hash": query_hash("select a from t where id = 1"),
        "user_name": "Ana María",
        "application_name": "etl",
        "database_name": "dev",
        "status": "cancelled",
        "query_type": "UNLOAD",
        "execution_time_us": 2_500_000,
        "queue_time_us": 40,
        "compile_time_us": 0,
        "rows_returned": 0,
        "bytes_scanned": 12 * MIB,
        "spilled_blocks": 2048,
        "start_time": after(seconds=7),
        "end_time": after(seconds=17),
        "error_message": "  Query (7) cancelled on user's request",
    }
    entity = QueryHistory.from_row(row)
    assert (entity.execution_seconds, entity.spill_gb) == (2.5, 2.0)


async def test_only_ended_queries_of_people_and_of_seven_days(catalogue: CatalogueSource, seeds: Seeds) -> None:
    for query_id, status in enumerate(("planning", "queued", "running", "returning", "success", "failed"), 1):
        await seeds.query(query_id, status=status)  # with an end_time, whatever the status
    await seeds.query(7, user_id=1)
    await seeds.query(8, start_time=after(days=-7), end_time=after(days=-7, seconds=10))
    await seeds.query(9, start_time=after(days=-7), end_time=after(days=-5.9))
    rows = await snapshot(catalogue, NAME, KEY)
    assert [(row["query_id"], row["status"]) for row in rows] == [(5, "success"), (6, "failed"), (9, "success")]
    assert {row["error_message"] for row in rows} == {None}
    assert {(row["bytes_scanned"], row["spilled_blocks"]) for row in rows} == {(0, 0)}


async def test_a_session_number_is_used_again_by_others(catalogue: CatalogueSource, seeds: Seeds) -> None:
    def said(session: int, hours: float, name: str, event: str = "authenticated") -> dict[str, Any]:
        return {"session_id": session, "record_time": after(hours=hours), "application_name": name, "event": event}

    await seeds.add(
        "sys_connection_log",
        *(said(5, -48, "old"), said(5, -1, "etl"), said(5, 1, "dashboard"), said(5, 3, "later")),
        *(said(6, 1, "too late"), said(7, -1, "was here"), said(7, 0, "", "initiating session")),
        *(said(8, 0, ""), said(8, 0, "at the same moment"), said(99, -1, "another session")),
    )
    for query_id, session, hours in ((1, 5, 0.5), (2, 5, 2), (3, 6, 0), (4, 7, 0.5), (5, 8, 0), (6, 9, 0), (7, 5, -50)):
        await seeds.query(query_id, session_id=session, start_time=after(hours=hours))
    await seeds.query(8, session_id=None, start_time=after())
    rows = await snapshot(catalogue, NAME, KEY)
    assert [row["application_name"] for row in rows] == [
        *("etl", "dashboard", None, None, "at the same moment", None, None, None)
    ]


async def test_a_session_outlives_the_connection_log(
    make_catalogue: Make, seeds: Seeds, remembered: MemoryRemembered
) -> None:
    def said(session: int, name: str, **ago: float) -> dict[str, Any]:
        return {"session_id": session, "record_time": after(**ago), "application_name": name}

    async def names(**changes: Any) -> list[str | None]:
        return [row["application_name"] for row in await snapshot(make_catalogue(**changes), NAME, KEY)]

    await seeds.add("sys_connection_log", said(5, "pool", days=-5), said(6, "short", hours=-1), said(7, "", days=-4))
    for query_id, session in ((1, 5), (2, 6), (3, 7)):
        await seeds.query(query_id, session_id=session, start_time=after())
    assert await names() == ["pool", "short", None]
    assert set(await remembered.recall("sessions of standin", ["5", "6", "7"])) == {"5", "7"}

    await seeds.admin.execute("DELETE FROM pg_catalog.sys_connection_log")
    assert await names() == ["pool", None, None]
    assert await names(place="another cluster") == [None, None, None]
    await seeds.query(4, session_id=5, start_time=after(days=-6))  # before the session that is remembered
    await seeds.query(5, session_id=None)
    assert await names() == ["pool", None, None, None, None]
    await seeds.add("sys_connection_log", said(5, "its number again", minutes=-1))
    assert await names() == ["its number again", None, None, None, None]


LONG = "SELECT " + ", ".join(f"column_{n} AS name_é{n}  " for n in range(900))


async def test_a_text_is_read_whole_only_where_it_is_cut(
    catalogue: CatalogueSource, seeds: Seeds, faults: FaultBook
) -> None:
    await seeds.query(1, query_text="SELECT 1")
    await seeds.query(2, query_text="SELECT '" + "x" * 3000 + "'")
    assert [row["query_hash"] for row in await snapshot(catalogue, NAME, KEY)] == [
        query_hash("SELECT 1"),
        query_hash("SELECT 'y'"),
    ]
    assert faults.executed("sys_query_text") == 0
    for query_id, ending in ((3, " FROM a"), (4, " FROM b")):
        whole = LONG + ending
        await seeds.query(query_id, query_text=whole.encode()[:4000].decode(errors="ignore"))
        await seeds.whole_text(query_id, whole)
    await seeds.query(5, query_text="SELECT 'no pieces'" + ", a" * 1310)
    rows = {row["query_id"]: row["query_hash"] for row in await snapshot(catalogue, NAME, KEY)}
    assert rows[3] == query_hash(LONG + " FROM a")
    assert rows[4] == query_hash(LONG + " FROM b") != rows[3]
    assert rows[5] == query_hash("SELECT 'no pieces'" + ", a" * 1310)
    asked = [text for text in faults.statements("sys_query_text") if "1 = 0" not in text]
    assert len(asked) == 2
    assert all("IN (" in text for text in asked)


async def test_whole_texts_are_read_in_bounded_parts(
    catalogue: CatalogueSource, seeds: Seeds, faults: FaultBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_history, "PIECES_MAX", 60)
    for query_id in range(1, 6):
        whole = f"SELECT {LONG} FROM t{query_id}"
        await seeds.query(query_id, query_text=whole.encode()[:4000].decode(errors="ignore"))
        await seeds.whole_text(query_id, whole)
    rows = await snapshot(catalogue, NAME, KEY)
    assert [row["query_hash"] for row in rows] == [query_hash(f"SELECT {LONG} FROM t{n}") for n in range(1, 6)]
    assert faults.executed(r"AS piece\b(?s:.)* IN \(") == 5


@pytest.mark.usefixtures("protocol")
async def test_the_same_rows_whatever_the_page(catalogue: CatalogueSource, seeds: Seeds) -> None:
    for query_id in range(1, 12):
        await seeds.query(query_id, session_id=query_id % 3, end_time=after(minutes=query_id % 4))
        await seeds.add(
            "sys_query_detail",
            {"user_id": 101, "query_id": query_id, "metrics_level": "child query", "blocks_read": query_id},
        )
        await seeds.add(
            "sys_connection_log",
            {
                "session_id": query_id % 3,
                "record_time": after(seconds=query_id - 0.5),
                "application_name": f"a{query_id}",
            },
        )
    whole = await snapshot(catalogue, NAME, KEY)
    assert [row["query_id"] for row in whole] == list(range(1, 12))
    assert [row["application_name"] for row in whole] == [f"a{n}" for n in range(1, 12)]
    by_cursor = sorted(whole, key=lambda row: (row["end_time"], row["query_id"]))
    for page in (2, 3):
        assert await snapshot(catalogue, NAME, KEY, page=page) == whole
        assert await incremental(catalogue, NAME, KEY, "end_time", page=page) == by_cursor
    assert await incremental(catalogue, NAME, KEY, "end_time", upto=after(minutes=1)) == [
        row for row in by_cursor if row["end_time"] <= after(minutes=1)
    ]


async def test_rows_by_key_and_the_greatest_cursor(catalogue: CatalogueSource, seeds: Seeds) -> None:
    for query_id in range(1, 6):
        await seeds.query(query_id)
    await seeds.query(5, status="running")
    schema = await schema_of(catalogue, NAME, KEY)
    wanted = KeyList(keys=tuple((Scalar(ScalarKind.INT, str(n)),) for n in (4, 2, 77)))
    entity = SourceEntity(NAME)
    batch = await catalogue.read(ReadRequest(relation=entity, schema=schema, range=wanted, limit=10))
    assert batch.column("query_id").to_pylist() == [2, 4]
    highest = await catalogue.highest(entity, schema.column("end_time"))
    assert highest is not None
    assert highest.text == str(after(seconds=15))
    assert await catalogue.count_nulls(entity, ["query_id", "end_time"]) == {"query_id": 0, "end_time": 0}
    assert await catalogue.count_duplicate_keys(entity, KEY) == 0
    assert await catalogue.count_duplicate_keys(entity, ["database_name"]) == 1


async def test_many_keys_are_asked_for_by_their_bounds(
    catalogue: CatalogueSource, seeds: Seeds, faults: FaultBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qupersync_extractor.infrastructure.sources.catalogue.views.LIST_MAX", 2)
    monkeypatch.setattr("qupersync_extractor.infrastructure.sources.catalogue.views.LISTS_MAX", 2)
    for query_id in range(1, 10):
        await seeds.query(query_id)
        await seeds.add(
            "sys_query_detail",
            {"user_id": 101, "query_id": query_id, "metrics_level": "child query", "blocks_read": query_id},
        )
    for page in (3, 5):
        faults.forget()
        rows = await snapshot(catalogue, NAME, KEY, page=page)
        assert [row["bytes_scanned"] for row in rows] == [n * MIB for n in range(1, 10)]
        by_list, by_bounds = faults.executed("sys_query_detail(?s:.)*IN"), faults.executed("sys_query_detail(?s:.)*<=")
        assert (by_list > 0, by_bounds > 0) == ((True, False) if page == 3 else (True, True))
