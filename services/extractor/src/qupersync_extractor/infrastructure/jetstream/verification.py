"""The port `Loaders`: questions to whichever loader of a group takes them."""

from typing import Final

from qupersync_extractor.infrastructure.jetstream.asking import Asking, parsed
from qupersync_shared.contracts.verification import VerificationReply, VerificationRequest, verify_subject
from qupersync_shared.kernel.ids import GroupName, PipelineName
from qupersync_shared.runtime.jetstream import Connection

PATIENCE_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 90.0  # a statement of the target ends after 60


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
        self._asking = Asking(connection, patience_seconds=patience_seconds, answer_seconds=answer_seconds)
        self._group = group
        self._pipeline = pipeline
        self._bytes = 0

    @property
    def bytes_moved(self) -> int:
        return self._bytes

    async def ask(self, request: VerificationRequest) -> VerificationReply:
        question = request.model_dump_json().encode()
        subject = verify_subject(self._group, self._pipeline)
        answer = await self._asking.ask(subject, question, group=self._group, what=self._pipeline)
        self._bytes += len(question) + len(answer)
        return parsed(answer, VerificationReply)
