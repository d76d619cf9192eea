"""What to ask the extractor for, so that a dead letter is made good: its part of the source, as it is now. Pure."""

from typing import Final
from uuid import UUID

from qupersync_loader.application.content import open_event
from qupersync_shared.contracts.commands import REREAD_KEYS_MAX, CursorSpan, KeySpan, RereadRequest
from qupersync_shared.contracts.envelope import BatchEnvelope, Mode
from qupersync_shared.kernel.errors import EventRefusedError
from qupersync_shared.kernel.ids import GroupName, uuid7
from qupersync_shared.kernel.positions import encode_key, encode_position

_REDRIVES_MAX: Final = 100
_REASON: Final = "an operator redrives a dead letter"


def redrive_of(envelope: BatchEnvelope, body: bytes, *, group: GroupName, keeps: bool = False) -> RereadRequest | None:
    """The reread that says again what the event said: its span by cursor, its range by key, or its keys.

    None where none of them can be known: only a snapshot says it again. Of a pipeline that `keeps` what the source
    forgets, no snapshot makes letters good: everything that is there is read instead.
    """
    cursor_span = key_span = None
    keys: tuple[str, ...] = ()
    if envelope.covers_range:
        key_span = KeySpan(
            after=encode_key(envelope.range_from) if envelope.range_from is not None else None,
            upto=encode_key(envelope.range_to) if envelope.range_to is not None else None,
        )
    elif envelope.position is not None and envelope.mode is not Mode.REREAD:
        # A reread was not read by its position, and by cursor no key is found to be gone.
        cursor_span = CursorSpan(
            after=encode_position(envelope.after) if envelope.after is not None else None,
            upto=encode_position(envelope.position),
        )
    else:
        keys = _keys(envelope, body)
        if not keys and not keeps:
            return None
        key_span = None if keys else KeySpan()
    return RereadRequest(
        id=uuid7(),
        group=group,
        pipeline=envelope.pipeline,
        reason=_REASON,
        keys=keys,
        cursor_span=cursor_span,
        key_span=key_span,
        redrives=_redrives(envelope),
    )


def _redrives(envelope: BatchEnvelope) -> tuple[UUID, ...]:
    """The letter, and those that it would have made good itself."""
    return (envelope.id, *envelope.redrives)[:_REDRIVES_MAX]


def _keys(envelope: BatchEnvelope, body: bytes) -> tuple[str, ...]:
    """The keys of a body that can be read, if a request may hold so many."""
    try:
        batch = open_event(envelope, body)
        keys = dict.fromkeys(encode_key(batch.key(index)) for index in range(batch.count))
    except EventRefusedError:
        return ()
    return tuple(keys) if len(keys) <= REREAD_KEYS_MAX else ()
