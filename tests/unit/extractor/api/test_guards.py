"""What stands around the application: nothing is done on half a request, and nobody waits for ever."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qupersync_extractor.interface.api.guards import PromptReads, SafeHeaders, SmallBodies


class Noted:
    """An application that notes the bodies it was given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.bodies.append(await Request(scope, receive).body())
        await PlainTextResponse("done")(scope, receive, send)


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0.05)
    await PlainTextResponse("done")(scope, receive, send)


def asked(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://control")


@pytest.mark.parametrize("arrived", [[], [{"type": "http.request", "body": b'{"job_', "more_body": True}]])
async def test_a_request_whose_client_leaves_before_its_end_does_nothing(arrived: list[dict[str, Any]]) -> None:
    """Without its body a trigger of one pipeline would be one of all."""
    messages = iter([*arrived, {"type": "http.disconnect"}])
    sent: list[Message] = []
    inside = Noted()

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    await SmallBodies(inside)({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)

    assert inside.bodies == []
    assert sent == []


async def test_a_whole_body_is_given_and_one_that_is_too_large_is_not() -> None:
    inside = Noted()
    async with asked(SmallBodies(inside, bytes_max=8)) as client:
        fits, exceeds = await client.post("/", content=b"12345678"), await client.post("/", content=b"123456789")

    assert inside.bodies == [b"12345678"]
    assert (fits.status_code, exceeds.status_code) == (200, 413)


async def test_looking_ends_in_time_and_acting_is_left_to_its_end() -> None:
    async with asked(PromptReads(silent, seconds_max=0.01)) as client:
        looked = await client.get("/")
    async with asked(PromptReads(slow, seconds_max=0.01)) as client:
        acted = await client.post("/")

    assert looked.status_code == 503
    assert looked.json()["type"] == "urn:qupersync:problem:unavailable"
    assert looked.headers["retry-after"]
    assert acted.status_code == 200


async def test_browsers_are_told_to_name_the_page_that_a_form_is_sent_from() -> None:
    """With `no-referrer` Chromium sends forms with `Origin: null`, which no page of ours has."""
    async with asked(SafeHeaders(Noted())) as client:
        answer = await client.get("/")

    assert answer.headers["referrer-policy"] == "same-origin"
