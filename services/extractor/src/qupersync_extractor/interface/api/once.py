"""`Idempotency-Key`: a request that was answered is answered the same again, and does nothing a second time."""

import contextlib
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, assert_never

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from qupersync_extractor.application.idempotency import Another, Answer, Answered, Claimed, UnderWay
from qupersync_extractor.interface.api.desk import Desk, TheDesk
from qupersync_extractor.interface.api.problems import ProblemError
from qupersync_extractor.interface.api.security import Caller, Operator
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.logs import get_logger

REPLAYED: Final = "Idempotency-Replayed"
_AGAIN_SECONDS: Final = 1

_log = get_logger(__name__)

_Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Any text of yours: the same request with the same key acts once, for a day.",
        pattern=r"^[\x21-\x7e]+$",
        max_length=200,
        examples=["4f2d8a6e-deploy-17"],
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a request has done, as it is answered."""

    content: BaseModel
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """One request that acts; without a key it simply does."""

    desk: Desk
    caller: Caller
    key: str | None
    digest: bytes

    async def answer(self, act: Callable[[], Awaitable[Done]]) -> Response:
        """What `act` has done, now or when the request came first."""
        if self.key is None:
            return _response(await self._act(act))
        match await self.desk.requests.claim(self.key, by=self.caller.name, digest=self.digest):
            case Answered(answer):
                return _response(answer, replayed=True)
            case UnderWay():
                raise ProblemError(
                    409,
                    "under-way",
                    "The same request is under way",
                    f"a request with the key {self.key!r} has not been answered yet",
                    cure="Ask again in a moment: the answer will be that of the first one",
                    headers={"Retry-After": str(_AGAIN_SECONDS)},
                )
            case Another():
                raise ProblemError(
                    422,
                    "key-reused",
                    "The key belongs to another request",
                    f"the key {self.key!r} came with another request before",
                    cure="Use a new key for each thing that you want done",
                )
            case Claimed():
                return await self._first(self.key, act)
            case unexpected:
                assert_never(unexpected)

    async def _first(self, key: str, act: Callable[[], Awaitable[Done]]) -> Response:
        try:
            answer = await self._act(act)
        except Exception:
            with contextlib.suppress(QupersyncError):  # it is given up by itself
                await self.desk.requests.release(key, by=self.caller.name)
            raise
        try:
            await self.desk.requests.answer(key, by=self.caller.name, answer=answer)
        except QupersyncError as error:  # it is done: whoever asks again in a while has it done again
            _log.warning("answer_not_kept", key=key, reason=str(error))
        return _response(answer)

    async def _act(self, act: Callable[[], Awaitable[Done]]) -> Answer:
        try:
            done = await act()
        finally:
            self.desk.board.outdate()
        content = {"body": done.content.model_dump(mode="json"), "headers": dict(done.headers)}
        return Answer(status=done.status, content=content)


async def _body(request: Request) -> bytes:
    return await request.body()


# Before the caller is known: whoever looks for a form in the request leaves nothing to be read behind it.
_Body = Annotated[bytes, Depends(_body)]


async def _once(request: Request, body: _Body, caller: Operator, desk: TheDesk, key: _Key = None) -> Once:
    return Once(desk=desk, caller=caller, key=key, digest=b"" if key is None else _digest(request, body))


TheOnce = Annotated[Once, Depends(_once)]


def _digest(request: Request, content: bytes) -> bytes:
    """Of all that the request says, however it is written."""
    body: Any = content
    with contextlib.suppress(ValueError, RecursionError):  # what cannot be read is compared as it came
        body = json.loads(content)
    said = [
        request.method,
        request.url.path,
        sorted(request.query_params.multi_items()),
        request.headers.get("if-match"),
        body if not isinstance(body, bytes) else body.hex(),
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


def _response(answer: Answer, *, replayed: bool = False) -> Response:
    headers = {**answer.content["headers"], **({REPLAYED: "true"} if replayed else {})}
    return JSONResponse(answer.content["body"], answer.status, headers=headers)
