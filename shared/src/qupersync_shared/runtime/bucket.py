"""The bucket `qupersync_progress` as keys and bytes: read in one request, written with or without an end of life."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from qupersync_shared.contracts.subjects import PROGRESS_BUCKET
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.runtime.jetstream import translated

_PREFIX: Final = f"$KV.{PROGRESS_BUCKET}."
_GET: Final = f"$JS.API.DIRECT.GET.KV_{PROGRESS_BUCKET}"
_STATUS: Final = "Status"
_OPERATION: Final = "KV-Operation"
_END: Final = "204"
_NOTHING: Final = "404"
_NOBODY: Final = "503"
_TOO_MANY: Final = "413"
_MARK_SECONDS: Final = 60.0
_KEYS_AT_ONCE: Final = 512  # the server answers 1,024 at most


class BucketMissingError(StreamUnavailableError):
    """The bucket is not declared yet, or was lost."""


class _TooManyKeysError(StreamUnavailableError):
    """More keys match than the server answers in one request."""


def _missing() -> BucketMissingError:
    return BucketMissingError(f"there is no bucket {PROGRESS_BUCKET}", cure="Run `qupersync-extractor migrate`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A value, and when it was written by the NATS server's clock."""

    value: bytes
    written_at: datetime


async def read(client: Client, keys: Sequence[str], *, timeout: float = 3) -> dict[str, Entry]:
    """The newest values of all keys that match (`lane.*.cost.*`, `process.>`), as any replica knows them.

    One request, or a few where more match than one can answer; nothing is left behind on the server.
    BucketMissingError when there is no bucket.
    """
    with translated(f"read the bucket {PROGRESS_BUCKET}"):
        try:
            return await _newest(client, keys, timeout)
        except _TooManyKeysError:
            names = await _names(client, keys, timeout)
            found: dict[str, Entry] = {}
            for start in range(0, len(names), _KEYS_AT_ONCE):
                found |= await _newest(client, names[start : start + _KEYS_AT_ONCE], timeout)
            return found


async def _newest(client: Client, keys: Sequence[str], timeout: float) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    try:
        request = json.dumps({"multi_last": [_PREFIX + key for key in keys]}).encode()
        await client.publish(_GET, request, reply=inbox)
        async with asyncio.timeout(timeout):
            while not _is_end(answer := await answers.next_msg(timeout)):
                headers = answer.headers or {}
                if _OPERATION not in headers:
                    key = headers["Nats-Subject"].removeprefix(_PREFIX)
                    found[key] = Entry(value=answer.data, written_at=moment(headers["Nats-Time-Stamp"]))
    finally:
        if not client.is_closed:
            await answers.unsubscribe()
    return found


async def _names(client: Client, keys: Sequence[str], timeout: float) -> list[str]:
    """The keys there are that match."""
    js, names = client.jetstream(timeout=timeout), set[str]()
    for key in keys:
        info = await js.stream_info(f"KV_{PROGRESS_BUCKET}", subjects_filter=_PREFIX + key)
        names.update(subject.removeprefix(_PREFIX) for subject in info.state.subjects or {})
    return sorted(names)


async def server_time(client: Client, *, timeout: float = 3) -> datetime:
    """The NATS server's clock: ages of entries are told by it, whatever the clocks of their writers say."""
    with translated("ask JetStream for its time"):
        answer = await client.request(f"$JS.API.STREAM.INFO.KV_{PROGRESS_BUCKET}", b"", timeout=timeout)
    told = json.loads(answer.data)
    if "error" in told or "ts" not in told:
        raise _missing()
    return moment(told["ts"])


def moment(text: str) -> datetime:
    """A server's time in UTC: it writes nanoseconds, of which Python reads six digits."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")


def _is_end(answer: Msg) -> bool:
    status = (answer.headers or {}).get(_STATUS)
    if status is None:
        return False
    if status in {_END, _NOTHING}:
        return True
    if status == _NOBODY:
        raise _missing()
    kind = _TooManyKeysError if status == _TOO_MANY else StreamUnavailableError
    raise kind(
        f"cannot read the bucket {PROGRESS_BUCKET}: {(answer.headers or {}).get('Description', '')} (status {status})",
        cure="Look at the NATS server",
    )


async def write(js: JetStreamContext, key: str, value: bytes, *, keep_seconds: float | None = None) -> None:
    """Stores a value; with `keep_seconds` it vanishes by itself unless it is written again."""
    with translated(f"write {key} into the bucket {PROGRESS_BUCKET}"):
        try:
            await js.publish(_PREFIX + key, value, msg_ttl=keep_seconds)
        except nats.js.errors.NoStreamResponseError as error:
            raise _missing() from error


async def remove(js: JetStreamContext, key: str) -> None:
    """Marks a key as gone; safe when it was never there. The mark goes by itself: keys of the past must not pile up."""
    with translated(f"remove {key} from the bucket {PROGRESS_BUCKET}"):
        await js.publish(_PREFIX + key, b"", headers={_OPERATION: "DEL"}, msg_ttl=_MARK_SECONDS)
