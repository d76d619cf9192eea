"""Rows that no event could carry, and the later page that settles them: it carries the row, or says that it is gone."""

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.application.pages import PageDraft
from qupersync_extractor.application.quarantine import Resolution
from qupersync_extractor.domain.extraction import PageKind, RereadPage, SnapshotPage
from qupersync_extractor.domain.ordering import key_order
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import canonical_bytes
from qupersync_shared.kernel.positions import Key, ScalarKind, decode_key


def may_settle(draft: PageDraft) -> bool:
    """Whether the page says anything of any key."""
    return draft.content.count > 0 or _is_complete(draft.kind)


def settled(keys: Sequence[str], draft: PageDraft, schema: RowSchema) -> Mapping[str, Resolution]:
    """Which of these withheld keys (encoded) the page settles, and how; what it withholds itself it does not settle.

    Thousands may wait, and every page asks: it belongs into a thread.
    """
    if not keys:
        return {}
    withheld = {key for body in draft.bodies for key in body.withheld}
    kinds = tuple(column.type.scalar for column in schema.key_columns)
    found: dict[str, Resolution] = {}
    waiting: dict[str, Key] = {}
    for text in keys:
        key = _key_of(text, kinds)
        if key is None:
            # A key of columns that are the key no longer: what it was a row of goes by another key now.
            if _begins_a_snapshot(draft):
                found[text] = Resolution.GONE
        elif key not in withheld:
            waiting[text] = key
    texts = pa.array([canonical_bytes(key).decode() for key in waiting.values()], pa.string())
    told = pc.is_in(texts, value_set=draft.content.canonical).to_pylist()
    carried = pc.is_in(texts, value_set=draft.content.here()).to_pylist()
    covered = _coverage(draft.kind)
    for (text, key), is_told, is_carried in zip(waiting.items(), told, carried, strict=True):
        if is_carried:
            found[text] = Resolution.SENT
        elif is_told or covered(key):
            found[text] = Resolution.GONE
    return found


def _key_of(text: str, kinds: tuple[ScalarKind | None, ...]) -> Key | None:
    """The key, which is canonical as it was withheld; None where it is no key of columns of these kinds."""
    try:
        key = decode_key(text)
    except ValueError:
        return None
    return key if tuple(scalar.kind for scalar in key) == kinds else None


def _coverage(kind: PageKind) -> Callable[[Key], bool]:
    """Tells of a key whether the page says the complete content of a range that holds it."""
    if not isinstance(kind, SnapshotPage | RereadPage) or not _is_complete(kind):
        return lambda _: False
    after = None if kind.after is None else key_order(kind.after)
    upto = None if kind.upto is None else key_order(kind.upto)

    def covers(key: Key) -> bool:
        order = key_order(key)
        return (after is None or order > after) and (upto is None or order <= upto)

    return covers


def _is_complete(kind: PageKind) -> bool:
    return isinstance(kind, SnapshotPage) or (isinstance(kind, RereadPage) and kind.complete)


def _begins_a_snapshot(draft: PageDraft) -> bool:
    return isinstance(draft.kind, SnapshotPage) and draft.kind.after is None
