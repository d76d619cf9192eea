"""Requests with a key: they act once, are answered the same, and may be made again where their process died."""

import asyncio
from datetime import timedelta
from typing import Any

from qupersync_extractor.application.idempotency import (
    GIVEN_UP,
    KEPT,
    Another,
    Answer,
    Answered,
    Claimed,
    UnderWay,
)

DIGEST, OTHER = b"one", b"another"
ANSWER = Answer(status=202, content={"requested": ["orders"], "n": [1, None, True]})
SOON = timedelta(seconds=5)


async def test_a_request_is_claimed_once_and_answered_the_same(persistence: Any) -> None:
    requests = persistence.requests
    assert await requests.claim("k", by="ann", digest=DIGEST) == Claimed()
    assert await requests.claim("k", by="ann", digest=DIGEST) == UnderWay()

    await requests.answer("k", by="ann", answer=ANSWER)

    assert await requests.claim("k", by="ann", digest=DIGEST) == Answered(ANSWER)
    assert await requests.claim("k", by="ann", digest=DIGEST) == Answered(ANSWER)


async def test_of_many_at_once_one_claims_it(persistence: Any) -> None:
    claims = await asyncio.gather(*(persistence.requests.claim("k", by="ann", digest=DIGEST) for _ in range(5)))

    assert claims.count(Claimed()) == 1
    assert claims.count(UnderWay()) == 4


async def test_a_key_says_one_thing(persistence: Any) -> None:
    await persistence.requests.claim("k", by="ann", digest=DIGEST)
    assert await persistence.requests.claim("k", by="ann", digest=OTHER) == Another()

    await persistence.requests.answer("k", by="ann", answer=ANSWER)
    assert await persistence.requests.claim("k", by="ann", digest=OTHER) == Another()


async def test_keys_are_their_callers_own(persistence: Any) -> None:
    await persistence.requests.claim("k", by="ann", digest=DIGEST)

    assert await persistence.requests.claim("k", by="bob", digest=OTHER) == Claimed()


async def test_what_was_released_may_be_made_again_and_what_was_answered_may_not(persistence: Any) -> None:
    requests = persistence.requests
    await requests.claim("k", by="ann", digest=DIGEST)
    await requests.release("k", by="ann")
    assert await requests.claim("k", by="ann", digest=OTHER) == Claimed()

    await requests.answer("k", by="ann", answer=ANSWER)
    await requests.release("k", by="ann")
    assert await requests.claim("k", by="ann", digest=OTHER) == Answered(ANSWER)


async def test_a_request_whose_process_died_may_be_made_again(persistence: Any) -> None:
    requests = persistence.requests
    await requests.claim("k", by="ann", digest=DIGEST)
    await persistence.pass_time((GIVEN_UP - SOON).total_seconds())
    assert await requests.claim("k", by="ann", digest=DIGEST) == UnderWay()

    await persistence.pass_time(2 * SOON.total_seconds())
    assert await requests.claim("k", by="ann", digest=OTHER) == Another()
    assert await requests.claim("k", by="ann", digest=DIGEST) == Claimed()
    assert await requests.claim("k", by="ann", digest=DIGEST) == UnderWay()


async def test_after_a_day_a_key_is_free_and_forgotten(persistence: Any) -> None:
    requests = persistence.requests
    await requests.claim("k", by="ann", digest=DIGEST)
    await requests.answer("k", by="ann", answer=ANSWER)
    assert await requests.forget() == 0

    await persistence.pass_time((KEPT + SOON).total_seconds())
    assert await requests.claim("k", by="ann", digest=OTHER) == Claimed()
    assert await requests.forget() == 0
    await persistence.pass_time((KEPT + SOON).total_seconds())
    assert await requests.forget() == 1
