"""Questions to whichever loader of a group takes them."""

import asyncio
import time
from typing import Final, TypeVar

import nats.errors
from nats.aio.client import Client
from pydantic import ValidationError

from qupersync_shared.contracts.commands import Command
from qupersync_shared.kernel.errors import StreamUnavailableError, TransientError
from qupersync_shared.runtime.jetstream import Connection, translated

_AGAIN_SECONDS: Final = 0.5
_SILENCES_MAX: Final = 2

Answer = TypeVar("Answer", bound=Command)


class NoLoaderError(TransientError):
    """No loader of the group is there, or none of this version."""


class Asking:
    """Asks again while nobody is there, for some seconds: who is just starting answers soon."""

    def __init__(self, connection: Connection, *, patience_seconds: float, answer_seconds: float) -> None:
        self._connection = connection
        self._patience_seconds = patience_seconds
        self._answer_seconds = answer_seconds

    async def ask(self, subject: str, question: bytes, *, group: str, what: str) -> bytes:
        """The answer. NoLoaderError, which names the group and `what` it does not answer for, where nobody listens;
        StreamUnavailableError where somebody does and says nothing.
        """
        ends = time.monotonic() + self._patience_seconds
        silences = 0
        while True:
            client = await self._connection.client()
            try:
                with translated(f"ask {subject}"):
                    answer = await self._asked(client, subject, question)
            except StreamUnavailableError:
                silences += 1
                if silences >= _SILENCES_MAX:
                    raise
                continue
            if answer is not None:
                return answer
            if time.monotonic() > ends:
                raise NoLoaderError(
                    f"no loader of group {group} answers for {what}",
                    cure=f"Start `qupersync-loader run --group {group}`, of this version",
                )
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _asked(self, client: Client, subject: str, question: bytes) -> bytes | None:
        """The answer; None where nobody listens."""
        try:
            message = await client.request(subject, question, timeout=self._answer_seconds)
        except nats.errors.NoRespondersError:
            return None
        return message.data


def parsed(answer: bytes, kind: type[Answer]) -> Answer:
    """The reply; TransientError for what is none."""
    try:
        return kind.model_validate_json(answer)
    except ValidationError as error:
        raise TransientError(
            "a loader's answer cannot be read", cure="Do all services have the same version?"
        ) from error
