"""What stands further on a lane than the message at hand, from headers alone."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from qupersync_loader.application.content import facts_of
from qupersync_loader.application.ports import BaselineAhead
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.kernel.errors import EventRefusedError
from qupersync_shared.kernel.ids import Lane, PipelineName
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.stream_reading import StreamMessage, reading

_BATCH: Final = 500
_LOOK_MAX: Final = 10_000  # messages at a time: a lane may have stood still for days
_SECONDS: Final = 5.0


@dataclass(slots=True, kw_only=True)
class _Look:
    """What was seen between one message and the message `upto`; a time tells a message from one of another stream."""

    message: tuple[int, datetime]
    upto: int
    found: dict[str, BaselineAhead] = field(default_factory=dict)

    def serves(self, message: tuple[int, datetime]) -> bool:
        """Whether what was seen stands behind this message too, as far as it is not before it."""
        return self.message[0] <= message[0] <= self.upto and self.message[1] <= message[1]


class LanesAhead:
    """Remembers, lane by lane, how far it has looked behind the message that the lane stands at."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._looks: dict[tuple[PipelineName, Lane], _Look] = {}

    async def baselines(
        self, pipeline: PipelineName, lane: Lane, message: tuple[int, datetime]
    ) -> tuple[BaselineAhead, ...]:
        """Where the lane could begin behind the message (its stream sequence and time), as far as looks have come."""
        look = self._looks.get((pipeline, lane))
        if look is None or not look.serves(message):
            look = self._looks[pipeline, lane] = _Look(message=message, upto=message[0])
        js = await self._connection.jetstream()
        async with reading(js, pipeline, lanes=[lane], from_sequence=look.upto + 1, headers_only=True) as (rest, count):
            left = min(count, _LOOK_MAX)
            while left > 0 and (messages := await rest.next(min(left, _BATCH), seconds=_SECONDS)):
                left -= len(messages)
                for each in messages:
                    _note(look, pipeline, lane, each)
        return tuple(look.found.values())

    def forget(self, pipeline: PipelineName) -> None:
        """The pipeline's lanes are looked at no more."""
        for known in [known for known in self._looks if known[0] == pipeline]:
            del self._looks[known]


def _note(look: _Look, pipeline: PipelineName, lane: Lane, message: StreamMessage) -> None:
    look.upto = message.sequence
    try:
        envelope = BatchEnvelope.from_headers(message.headers)
    except EventRefusedError:
        return  # a foreign message moves nothing
    if envelope.is_baseline and (envelope.pipeline, envelope.lane) == (pipeline, lane):
        fingerprint = envelope.schema_fingerprint
        look.found.pop(fingerprint, None)  # so that the latest of all stands last
        look.found[fingerprint] = BaselineAhead(event=facts_of(envelope), fingerprint=fingerprint)
