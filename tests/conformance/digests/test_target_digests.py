"""The target computes the digests of the definition too: after rows of every type went the ordinary way."""

from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
import pytest
from tests.conformance.digests.targets import MemoryTargetHarness, TargetHarness, opened_postgres
from tests.conformance.digests.values import COMMON, nasty_rows, schema_of

from qupersync_loader.application.digests import KeyBounds, answer
from qupersync_shared.contracts.row_digests import (
    digested_columns,
    exact_digest,
    exact_texts,
    row_digests,
    sums_of,
)
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import key_at
from qupersync_shared.contracts.verification import (
    ComparedColumn,
    ContentsWanted,
    RangesWanted,
    RowsWanted,
    StandingWanted,
    VerificationReply,
    VerificationRequest,
    Wanted,
)
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind, encode_key

SCHEMA = schema_of([*COMMON, "char", "uuid"])
EVERYTHING = KeyBounds(after=None, upto=None)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def target(request: pytest.FixtureRequest) -> AsyncIterator[TargetHarness]:
    if request.param == "memory":
        yield MemoryTargetHarness()
        return
    async with opened_postgres(request.getfixturevalue("local_stack")) as made:
        yield made


async def loaded(target: TargetHarness, schema: RowSchema = SCHEMA) -> pa.RecordBatch:
    """Rows with values of every type, as the source adapter of a warehouse in memory reads them."""
    rows = nasty_rows([column.type.name for column in schema.columns[1:]])
    return await target.load(schema, rows)


async def test_digests_of_every_type_are_those_of_the_definition(target: TargetHarness) -> None:
    batch = await loaded(target)
    columns = digested_columns(SCHEMA)
    expected = row_digests(batch, columns)
    async with target.digests.opened(target.pipeline, SCHEMA, columns) as table:
        found = await table.digests(EVERYTHING, limit=10_000)
        assert [row.key for row in found] == [encode_key(key_at(batch, SCHEMA, n)) for n in range(batch.num_rows)]
        assert [row.digest for row in found] == expected
        assert await table.sums(EVERYTHING) == sums_of(expected)
        assert await table.sums(KeyBounds(after=_id(3), upto=_id(10))) == sums_of(expected[4:11])
        assert [row.digest for row in await table.digests(KeyBounds(after=_id(3), upto=None), limit=2)] == expected[4:6]
        assert {row.digest for row in await table.digests_of([_id(1), _id(2), _id(10**9)])} == set(expected[1:3])


async def test_contents_are_exact_column_by_column(target: TargetHarness) -> None:
    batch = await loaded(target)
    columns = digested_columns(SCHEMA)
    texts = [exact_texts(batch.column(one.column.name), one.column.type) for one in columns]
    async with target.digests.opened(target.pipeline, SCHEMA, columns) as table:
        keys = [key_at(batch, SCHEMA, n) for n in range(batch.num_rows)]
        found = {content.key: content async for content in table.contents([*keys, _id(10**9)])}
    for index, key in enumerate(keys):
        expected = tuple(exact_digest(text[index], one) for text, one in zip(texts, columns, strict=True))
        assert found[encode_key(key)].columns == expected
        assert found[encode_key(key)].present
    assert not found[encode_key(_id(10**9))].present


@pytest.mark.parametrize("held", ["0", "-0.0"])
async def test_the_two_zeros_of_floats_are_one(target: TargetHarness, held: str) -> None:
    """A loader holds them to be equal, and rewrites no row for the sign: else nothing would ever mend it."""
    schema = schema_of(["real", "double"])
    await target.load(schema, [{"id": 1, "c0": held, "c1": held}])
    columns = digested_columns(schema)
    for source in (0.0, -0.0):
        batch = pa.RecordBatch.from_pylist([{"id": 1, "c0": source, "c1": source}], schema=schema.arrow())
        texts = [exact_texts(batch.column(one.column.name), one.column.type)[0] for one in columns]
        async with target.digests.opened(target.pipeline, schema, columns) as table:
            assert [row.digest for row in await table.digests(EVERYTHING, limit=10)] == row_digests(batch, columns)
            (content,) = [content async for content in table.contents([_id(1)])]
        assert content.columns == tuple(exact_digest(text, one) for text, one in zip(texts, columns, strict=True))


def request_for(target: TargetHarness, wanted: Wanted) -> VerificationRequest:
    columns = tuple(
        ComparedColumn(name=one.column.name, type=one.column.type.name, form=one.form)
        for one in digested_columns(SCHEMA)
    )
    return VerificationRequest(
        group=target.pipeline.group, pipeline=target.pipeline.name, columns=columns, key=SCHEMA.key, wanted=wanted
    )


async def asked(target: TargetHarness, wanted: Wanted, **clock: Any) -> VerificationReply:
    """The reply after both have travelled as JSON."""
    request = VerificationRequest.model_validate_json(request_for(target, wanted).model_dump_json())
    reply = await answer(target.digests, target.pipeline, request, **clock)
    return VerificationReply.model_validate_json(reply.model_dump_json(exclude_defaults=True))


async def test_questions_are_answered_in_parts_that_can_be_asked_for_again(target: TargetHarness) -> None:
    batch = await loaded(target)
    expected = row_digests(batch, digested_columns(SCHEMA))
    bounds = (encode_key(_id(4)), encode_key(_id(9)), None)
    whole = await asked(target, RangesWanted(bounds=bounds))
    assert [sums.rows for sums in whole.ranges] == [5, 5, len(expected) - 10]
    assert not whole.more
    late = iter([0.0, *[100.0] * 10])
    part = await asked(target, RangesWanted(bounds=bounds), clock=lambda: next(late))
    assert (len(part.ranges), part.more) == (1, True)
    rows = await asked(target, RowsWanted(after=encode_key(_id(4)), limit=3))
    assert [row.digest for row in rows.rows] == expected[5:8]
    assert rows.more
    contents = await asked(target, ContentsWanted(keys=(encode_key(_id(1)),)))
    assert [content.present for content in contents.contents] == [True]
    assert (await asked(target, StandingWanted())).standing == target.standing


async def test_what_is_wrong_is_told_in_the_answer(target: TargetHarness) -> None:
    await loaded(target, schema_of(["varchar"]))
    reply = await asked(target, StandingWanted())
    assert reply.refused is not None
    assert "column 'c1'" in reply.refused
    assert not reply.passing
    broken = await asked(target, RowsWanted(after="no key"))
    assert broken.refused is not None


def _id(number: int) -> Key:
    return (Scalar(ScalarKind.INT, str(number)),)
