"""Requests to read again: kept until they are done, once each, and forgotten a while later."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from qupersync_extractor.domain.rereads import (
    Reread,
    RereadCounts,
    SpanOrder,
    WantedKeys,
    WantedSpan,
    advance_span,
    refuse,
    take_keys,
)
from qupersync_shared.kernel.errors import LeaseLostError
from qupersync_shared.kernel.ids import FencingToken, PipelineName, uuid7

PIPELINE = PipelineName("orders")
KEYS = WantedKeys(keys=("a", "ünïcode", "b"))


def asked(**changes: Any) -> Reread:
    options: dict[str, Any] = {
        "id": uuid7(),
        "pipeline": PIPELINE,
        "group": "main",
        "reason": "a row was refused",
        "wanted": KEYS,
        "redrives": (uuid7(), uuid7()),
    }
    return Reread(**(options | changes))


async def waiting(persistence: Any) -> list[Reread]:
    async with persistence.unit_of_work() as work:
        found: list[Reread] = await work.rereads.waiting(PIPELINE)
    return found


async def save(persistence: Any, token: FencingToken, *rereads: Reread, commit: bool = True) -> None:
    async with persistence.unit_of_work() as work:
        await work.extractions.lock(PIPELINE, token)
        await work.rereads.save(rereads)
        if commit:
            await work.commit()


@pytest.mark.parametrize(
    "wanted",
    [
        KEYS,
        WantedSpan(by=SpanOrder.CURSOR, after=None, upto="u"),
        WantedSpan(by=SpanOrder.KEY, after="a", upto=None),
        WantedSpan(by=SpanOrder.KEY, after=None, upto=None),
    ],
)
async def test_a_request_comes_back_as_it_was_made(
    persistence: Any, writer: Any, wanted: WantedKeys | WantedSpan
) -> None:
    request = asked(wanted=wanted)
    assert await persistence.rereads.request(request)
    assert await persistence.rereads.get(request.id) == request
    assert await waiting(persistence) == [request]


async def test_an_unknown_pipeline_has_no_requests(persistence: Any) -> None:
    request = asked(pipeline=PipelineName("unknown"))
    assert not await persistence.rereads.request(request)
    assert await persistence.rereads.get(request.id) is None
    assert await persistence.rereads.counts(PipelineName("unknown")) == RereadCounts()


async def test_the_oldest_come_first_and_the_same_id_comes_once(persistence: Any, writer: Any) -> None:
    requests = [asked() for _ in range(3)]
    for request in (*requests, requests[0], replace(requests[1], reason="again")):
        assert await persistence.rereads.request(request)
    assert await waiting(persistence) == requests
    counts = await persistence.rereads.counts(PIPELINE)
    assert (counts.waiting, counts.refused) == (3, 0)
    assert counts.oldest is not None


async def test_how_far_a_request_has_come_commits_with_the_page(persistence: Any, writer: Any) -> None:
    request = asked()
    await persistence.rereads.request(request)
    further = take_keys(request, 2)
    await save(persistence, writer.token, further, commit=False)
    assert await waiting(persistence) == [request]
    await save(persistence, writer.token, further)
    (found,) = await waiting(persistence)
    assert found == further
    assert found.keys_left == ("b",)
    with pytest.raises(LeaseLostError):
        await save(persistence, FencingToken(writer.token - 1), request)
    assert await waiting(persistence) == [further]


async def test_a_done_request_stays_done_and_is_forgotten_later(persistence: Any, writer: Any) -> None:
    span = asked(wanted=WantedSpan(by=SpanOrder.CURSOR, after=None, upto="u"))
    keys, open_one = asked(), asked()
    for request in (span, keys, open_one):
        await persistence.rereads.request(request)
    halfway = advance_span(span, reached="half")
    await save(persistence, writer.token, halfway)
    assert (await persistence.rereads.get(span.id)).reached == "half"
    await save(persistence, writer.token, advance_span(halfway, reached=None), refuse(keys, "NUL \0 in it"))
    assert await waiting(persistence) == [open_one]
    assert (await persistence.rereads.get(keys.id)).keys_refused == 3
    counts = await persistence.rereads.counts(PIPELINE)
    assert (counts.waiting, counts.refused) == (1, 1)
    assert counts.unreadable.startswith("NUL")

    assert await persistence.rereads.request(span), "asked again after it was done: nothing happens"
    assert await waiting(persistence) == [open_one]
    assert await persistence.rereads.forget(older_than=timedelta(hours=1)) == 0
    await persistence.pass_time(7200)
    assert await persistence.rereads.forget(older_than=timedelta(hours=1)) == 2
    assert await waiting(persistence) == [open_one]
    assert await persistence.rereads.get(span.id) is None


async def test_a_refusal_is_told_until_another_request_was_read_whole(persistence: Any, writer: Any) -> None:
    first, second = asked(), asked()
    for request in (first, second):
        await persistence.rereads.request(request)
        assert (await persistence.rereads.counts(PIPELINE)).unreadable is None
    await save(persistence, writer.token, refuse(first, "no such column"))
    assert (await persistence.rereads.counts(PIPELINE)).unreadable == "no such column"
    await persistence.pass_time(1)
    await save(persistence, writer.token, take_keys(second, 3))
    counts = await persistence.rereads.counts(PIPELINE)
    assert (counts.unreadable, counts.refused, counts.waiting) == (None, 1, 0)
