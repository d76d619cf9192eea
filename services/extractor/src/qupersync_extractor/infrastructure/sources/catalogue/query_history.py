"""Finished queries, with what they read, who sent them, and a hash that groups their runs."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.application.remembering import Remembered
from qupersync_extractor.domain.catalogue import query_hash
from qupersync_extractor.infrastructure.sources.catalogue.applications import SESSIONS, Applications
from qupersync_extractor.infrastructure.sources.catalogue.joining import looked_up
from qupersync_extractor.infrastructure.sources.catalogue.recipe import NotApplicable, Statements
from qupersync_extractor.infrastructure.sources.catalogue.statements import (
    BIGINT,
    INTEGER,
    SYS_QUERY_DETAIL,
    SYS_QUERY_HISTORY,
    SYS_QUERY_TEXT,
    VARCHAR,
    first_of,
    statement,
)
from qupersync_extractor.infrastructure.sources.catalogue.views import SystemViews

BLOCK_BYTES: Final = 1 << 20
PIECE_BYTES: Final = 200
# query_text is cut at 4000 bytes. What is left is shorter where the cut fell into blanks or into a character.
CUT_BYTES: Final = 3_900
PIECES_MAX: Final = 20_000  # of 200 bytes, read at once

_QUERIES: Final = first_of(
    "query_history",
    SYS_QUERY_HISTORY,
    "query_history.sql",
    later=("query_hash", "application_name", "bytes_scanned", "spilled_blocks"),
    also={"session_id": INTEGER, "query_text": VARCHAR},
)
_METRICS: Final = statement(
    SYS_QUERY_DETAIL, "query_metrics.sql", {"query_id": BIGINT, "blocks_read": BIGINT, "spilled_blocks": BIGINT}
)
_SIZES: Final = statement(SYS_QUERY_TEXT, "query_text_sizes.sql", {"query_id": BIGINT, "pieces": BIGINT})
_TEXTS: Final = statement(
    SYS_QUERY_TEXT, "query_texts.sql", {"query_id": BIGINT, "sequence": INTEGER, "piece": VARCHAR}
)


class QueryHistoryRecipe:
    """From sys_query_history, sys_query_detail, sys_connection_log and, for long texts, sys_query_text."""

    name = "query_history"

    def __init__(self, remembered: Remembered | None, *, place: str) -> None:
        self._applications = Applications(remembered, place=place)

    async def statements(self, views: SystemViews) -> Statements | NotApplicable:  # noqa: ARG002  # every cluster has it
        return Statements(first=_QUERIES, further=(_METRICS, SESSIONS, _TEXTS))

    async def complete(self, page: pa.RecordBatch, views: SystemViews) -> Mapping[str, pa.Array]:
        queries = page.column("query_id")
        metrics = await views.matching(_METRICS, "query_id", queries)
        blocks = pc.fill_null(looked_up(queries, metrics, key="query_id", column="blocks_read"), 0)
        return {
            "query_hash": await self._hashes(page, views),
            "application_name": await self._applications.of(
                page.column("session_id"), page.column("start_time"), views
            ),
            "bytes_scanned": pc.multiply_checked(blocks, BLOCK_BYTES),
            "spilled_blocks": pc.fill_null(looked_up(queries, metrics, key="query_id", column="spilled_blocks"), 0),
        }

    async def _hashes(self, page: pa.RecordBatch, views: SystemViews) -> pa.Array:
        """Each different text is hashed once: programs send the same ones again and again."""
        texts, queries = page.column("query_text"), page.column("query_id")
        hashes = await asyncio.to_thread(_hashed, texts)
        # A text that was cut within a character is none: what is left of it is in sys_query_text.
        cut = pc.fill_null(pc.greater_equal(pc.binary_length(texts), CUT_BYTES), fill_value=True)
        whole = await self._whole_hashes(queries.filter(cut), views)
        return (
            hashes if whole is None else pc.coalesce(looked_up(queries, whole, key="query_id", column="hash"), hashes)
        )

    async def _whole_hashes(self, queries: pa.Array, views: SystemViews) -> pa.Table | None:
        """The hashes of these queries' whole texts, of which no more are held than fit into memory."""
        if len(queries) == 0:
            return None
        sizes = await views.matching(_SIZES, "query_id", queries)
        wanted = sizes.filter(pc.is_in(sizes.column("query_id"), value_set=queries))
        hashed: dict[int, str] = {}
        for some in _within(
            zip(wanted.column("query_id").to_pylist(), wanted.column("pieces").to_pylist(), strict=True)
        ):
            pieces = await views.matching(_TEXTS, "query_id", pa.array(some, pa.int64()))
            hashed |= await asyncio.to_thread(_hashed_pieces, pieces)
        return pa.table(
            {"query_id": pa.array(hashed.keys(), pa.int64()), "hash": pa.array(hashed.values(), pa.string())}
        )


def joined(pieces: Sequence[str]) -> str:
    """The text that was cut into these pieces of 200 bytes, whose blanks at the end are lost.

    A piece is also shorter where the next character, of several bytes, did not fit any more: then, as far
    as one can tell, no blank was lost.
    """
    whole = []
    for piece, following in pairwise((*pieces, "")):
        missing = PIECE_BYTES - len(piece.encode())
        whole.append(piece if missing < len(following[:1].encode()) else piece + " " * missing)
    return "".join(whole).rstrip(" ")


def _hashed(texts: pa.Array) -> pa.Array:
    encoded = texts.dictionary_encode()
    hashes = pa.array([query_hash(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return hashes.take(encoded.indices)


def _hashed_pieces(pieces: pa.Table) -> dict[int, str]:
    ordered = pieces.sort_by([("query_id", "ascending"), ("sequence", "ascending")])
    rows = zip(ordered.column("query_id").to_pylist(), ordered.column("piece").to_pylist(), strict=True)
    return {
        query: query_hash(joined([piece or "" for _, piece in parts]))
        for query, parts in groupby(rows, lambda row: row[0])
    }


def _within(sizes: Iterator[tuple[int, int]]) -> Iterator[list[int]]:
    """Groups of queries whose pieces are within the limit together, or one query alone."""
    some: list[int] = []
    held = 0
    for query, pieces in sizes:
        if some and held + pieces > PIECES_MAX:
            yield some
            some, held = [], 0
        some.append(query)
        held += pieces
    if some:
        yield some
