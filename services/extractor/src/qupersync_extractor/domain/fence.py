"""What the relay does when the stream refuses a publish: it looks at the lane's last message and decides anew."""

from dataclasses import dataclass, replace

from qupersync_extractor.domain.records import RelayCursor
from qupersync_shared.kernel.ids import Generation, Log, Sequence, StreamSequence


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTop:
    """The lane's last message; `known` is its sequence in the outbox, found by its id, None for a foreign event."""

    stream_sequence: StreamSequence
    log: Log | None
    generation: Generation
    known: Sequence | None


def reconcile(cursor: RelayCursor, top: StreamTop | None) -> RelayCursor:
    """The cursor to go on from.

    An event of the lane's own log that the outbox knows: the relay goes on after it. None, or a foreign one: its stream
    sequence (0 for none) is adopted, and the relay goes on from its own cursor. An own event of an older generation was
    published before the rewind that raised the generation, so it must not undo that rewind: it counts as foreign.
    """
    if top is None:
        return replace(cursor, last_stream_sequence=StreamSequence(0))
    own = top.log == cursor.log and top.known is not None and top.generation >= cursor.generation
    if own and top.known is not None:
        return replace(cursor, last_sequence=top.known, last_stream_sequence=top.stream_sequence)
    return replace(cursor, last_stream_sequence=top.stream_sequence)
