"""Rows that no event could carry, and the later page that settles them: it carries the row, or says that it is gone."""

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.application.key_lists import fitted
from qupersync_extractor.application.pages import PageDraft
from qupersync_extractor.application.quarantine import Resolution
from qupersync_extractor.domain.extraction import RereadPage, SnapshotPage
from qupersync_extractor.domain.ordering import key_order
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import canonical_bytes
from qupersync_shared.kernel.positions import Key, decode_key


def settled(keys: Sequence[str], draft: PageDraft, schema: RowSchema) -> Mapping[str, Resolution]:
    """Which of these withheld keys (encoded) the page settles, and how; what it withholds itself it does not settle."""
    if not keys:
        return {}
    withheld = {key for body in draft.bodies for key in body.withheld}
    found: dict[str, Resolution] = {}
    fitting: dict[str, Key] = {}
    for text in keys:
        try:
            key = fitted(decode_key(text), schema)
        except ValueError:
            # A key of columns that are the key no longer: what it was a row of goes by another key now.
            if _begins_a_snapshot(draft):
                found[text] = Resolution.GONE
            continue
        if key not in withheld:
            fitting[text] = key
    carried = _among(fitting.values(), draft.content.here())
    told = _among(fitting.values(), draft.content.canonical)
    for text, key in fitting.items():
        if key in carried:
            found[text] = Resolution.SENT
        elif key in told or _covers(draft, key):
            found[text] = Resolution.GONE
    return found


def _among(keys: Iterable[Key], canonical: pa.Array) -> set[Key]:
    listed = list(keys)
    texts = pa.array([canonical_bytes(key).decode() for key in listed], pa.string())
    hits = pc.is_in(texts, value_set=canonical).to_pylist()
    return {key for key, hit in zip(listed, hits, strict=True) if hit}


def _covers(draft: PageDraft, key: Key) -> bool:
    """Whether the page says the complete content of a range that holds the key."""
    match draft.kind:
        case SnapshotPage(after=after, upto=upto) | RereadPage(complete=True, after=after, upto=upto):
            above = after is None or key_order(key) > key_order(after)
            return above and (upto is None or key_order(key) <= key_order(upto))
        case _:
            return False


def _begins_a_snapshot(draft: PageDraft) -> bool:
    return isinstance(draft.kind, SnapshotPage) and draft.kind.after is None
