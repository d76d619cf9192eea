"""A withheld row is settled by the page that carries it or says that it is gone, and by no other."""

from typing import Any

import pyarrow as pa
import pytest
from tests.unit.extractor.application.bench import Bench, encoded, keys_wanted, naive
from tests.unit.extractor.application.test_key_lists import schema as schema_of

from qupersync_extractor.application.pages import PageDraft, Rows, draft_pages, empty_draft, with_gone
from qupersync_extractor.application.quarantine import Resolution
from qupersync_extractor.application.withheld import may_settle, settled
from qupersync_extractor.domain.extraction import HeartbeatPage, IncrementalPage, PageKind, RereadPage, SnapshotPage
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.infrastructure.memory.quarantine import MemoryWithheldRows
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import canonical_keys
from qupersync_shared.kernel.ids import SnapshotId, uuid7
from qupersync_shared.kernel.positions import Key, Position, Scalar, ScalarKind, encode_key

SCHEMA: RowSchema = schema_of("bigint")  # key (a, b), both bigint
SNAPSHOT = SnapshotId(uuid7())
LARGE = "".join(chr(0x4E00 + (place * 104729) % 20000) for place in range(8000))


def key(number: int) -> Key:
    return Scalar(ScalarKind.INT, "5"), Scalar(ScalarKind.INT, str(number))


def rows(*numbers: int) -> Rows:
    read = pa.RecordBatch.from_pylist([{"a": 5, "b": number} for number in numbers], schema=SCHEMA.arrow())
    return Rows(batch=read, canonical=canonical_keys(read, SCHEMA), schema=SCHEMA)


def page(kind: PageKind, *numbers: int, gone: tuple[int, ...] = ()) -> PageDraft:
    (draft,) = draft_pages(with_gone(rows(*numbers), rows(*gone)), kind, lanes=2, event_bytes_max=1 << 20)
    return draft


def how(draft: PageDraft, *numbers: int) -> dict[int, Resolution]:
    found = settled([encode_key(key(number)) for number in numbers], draft, SCHEMA)
    return {number: found[encode_key(key(number))] for number in numbers if encode_key(key(number)) in found}


def test_a_page_that_carries_the_row_settles_it() -> None:
    incremental = IncrementalPage(upto=Position.after(Scalar(ScalarKind.INT, "9")))
    assert how(page(incremental, 1, 3), 1, 2, 3) == {1: Resolution.SENT, 3: Resolution.SENT}
    assert how(page(RereadPage(), 1, gone=(2,)), 1, 2, 3) == {1: Resolution.SENT, 2: Resolution.GONE}


@pytest.mark.parametrize(
    "kind",
    [
        SnapshotPage(snapshot_id=SNAPSHOT, after=key(1), upto=key(4)),
        RereadPage(complete=True, after=key(1), upto=key(4)),
    ],
)
def test_a_range_without_the_row_settles_it_and_no_key_beyond_its_ends(kind: PageKind) -> None:
    assert how(page(kind, 3), 1, 2, 3, 4, 5) == {2: Resolution.GONE, 3: Resolution.SENT, 4: Resolution.GONE}


def test_keys_of_columns_that_are_the_key_no_longer_end_with_the_next_snapshot() -> None:
    old = [encode_key((Scalar(ScalarKind.INT, "1"),)), encode_key((*key(1), *key(2))), "garbage"]
    first = SnapshotPage(snapshot_id=SNAPSHOT, after=None, upto=key(1))
    later = SnapshotPage(snapshot_id=SNAPSHOT, after=key(1), upto=None)
    assert settled(old, page(first), SCHEMA) == dict.fromkeys(old, Resolution.GONE)
    assert settled(old, page(later), SCHEMA) == {}


def test_nothing_waits_and_nothing_is_looked_at() -> None:
    assert settled([], page(RereadPage(), 1), SCHEMA) == {}


def test_a_page_without_rows_and_range_says_nothing_of_any_key() -> None:
    incremental = IncrementalPage(upto=Position.after(Scalar(ScalarKind.INT, "9")))
    for silent in (empty_draft(SCHEMA, HeartbeatPage(), lanes=2), empty_draft(SCHEMA, incremental, lanes=2)):
        assert not may_settle(silent)
        assert how(silent, 1) == {}
    for telling in (page(incremental, 1), page(RereadPage(), gone=(1,)), page(RereadPage(complete=True))):
        assert may_settle(telling)
        assert set(how(telling, 1)) == {1}


async def withheld(bench: Bench) -> dict[str, Any]:
    found, _ = await MemoryWithheldRows(bench.store).page(pipelines=(), resolved=True, after=None, limit=9)
    return {row.key: row.resolution for row in found}


@pytest.mark.parametrize(("mend", "resolution"), [("shorten", Resolution.SENT), ("delete", Resolution.GONE)])
@pytest.mark.parametrize("by", ["reread", "snapshot"])
async def test_a_withheld_row_settles_when_it_is_read_again(mend: str, resolution: Resolution, by: str) -> None:
    bench = await Bench().registered()
    bench.insert(1, 3)
    bench.insert(2, note=LARGE)
    use_case = bench.use_case(event_bytes_max=12_000)
    await use_case.run()
    assert await withheld(bench) == {encoded(2): None}
    await bench.rereads.request(keys_wanted(2))
    await use_case.reread()
    assert await withheld(bench) == {encoded(2): None}, "as large as before"

    if mend == "shorten":
        bench.table.upsert(["id"], {"id": 2, "note": "short", "updated_at": naive(bench.source.now)})
    else:
        bench.table.delete(lambda row: row["id"] == 2)
    if by == "reread":
        await bench.rereads.request(keys_wanted(2))
        await use_case.reread()
    else:
        await use_case.run(forced=ForcedMode.SNAPSHOT)
    assert await withheld(bench) == {encoded(2): resolution}
