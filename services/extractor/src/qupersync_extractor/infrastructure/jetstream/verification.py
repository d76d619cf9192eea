"""The port `Loaders`: questions to whichever loader of a group takes them."""

import asyncio
import time
from typing import Final

import nats.errors
from nats.aio.client import Client
from pydantic import ValidationError

from qupersync_shared.contracts.verification import VerificationReply, VerificationRequest, verify_subject
from qupersync_shared.kernel.errors import StreamUnavailableError, TransientError
from qupersync_shared.kernel.ids import GroupName, PipelineName
from qupersync_shared.runtime.jetstream import Connection, translated

PATIENCE_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 90.0  # a statement of the target ends after 60
_AGAIN_SECONDS: Final = 0.5
_SILENCES_MAX: Final = 2


class NatsLoaders:
    """Asks again while nobody is there, for some seconds: who is just starting answers soon."""

    def __init__(
        self,
        connection: Connection,
        group: GroupName,
        pipeline: PipelineName,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._connection = connection
        self._group = group
        self._pipeline = pipeline
        self._patience_seconds = patience_seconds
        self._answer_seconds = answer_seconds
        self._bytes = 0

    @property
    def bytes_moved(self) -> int:
        return self._bytes

    async def ask(self, request: VerificationRequest) -> VerificationReply:
        question = request.model_dump_json().encode()
        ends = time.monotonic() + self._patience_seconds
        silences = 0
        while True:
            client = await self._connection.client()
            subject = verify_subject(self._group, self._pipeline)
            try:
                with translated(f"ask {subject}"):
                    answer = await self._asked(client, subject, question)
            except StreamUnavailableError:
                silences += 1
                if silences >= _SILENCES_MAX:
                    raise
                continue
            if answer is not None:
                self._bytes += len(question) + len(answer)
                return _parsed(answer)
            if time.monotonic() > ends:
                raise TransientError(
                    f"no loader of group {self._group} answers for {self._pipeline}",
                    cure=f"Start `qupersync-loader run --group {self._group}`, of this version",
                )
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _asked(self, client: Client, subject: str, question: bytes) -> bytes | None:
        """The answer; None where nobody listens."""
        try:
            message = await client.request(subject, question, timeout=self._answer_seconds)
        except nats.errors.NoRespondersError:
            return None
        return message.data


def _parsed(answer: bytes) -> VerificationReply:
    try:
        return VerificationReply.model_validate_json(answer)
    except ValidationError as error:
        raise TransientError(
            "a loader's answer cannot be read", cure="Do all services have the same version?"
        ) from error
