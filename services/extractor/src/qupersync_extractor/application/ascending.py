"""Keys of pages that say the complete content of a range must ascend as the target compares them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.application.pages import Rows
from qupersync_extractor.domain.ordering import key_order
from qupersync_shared.contracts.slots import canonical_texts
from qupersync_shared.kernel.errors import PageRefusedError
from qupersync_shared.kernel.positions import Key

_OTHER_KEY = (
    "Keys with control characters or another collation cannot be paged: choose another key, or normalise it in a query"
)


def check_ascending(rows: Rows, *, after: Key | None, upto: Key | None) -> None:
    """PageRefusedError unless the keys ascend strictly inside (after, upto] as the target compares them."""
    if rows.count == 0:
        return
    broken = _first_descent(rows)
    if broken is not None:
        raise PageRefusedError(
            f"key {_show(rows.key(broken + 1))} follows {_show(rows.key(broken))}: "
            "source and target order keys differently",
            cure=_OTHER_KEY,
        )
    first, last = rows.key(0), rows.key(rows.count - 1)
    if after is not None and not key_order(first) > key_order(after):
        raise PageRefusedError(
            f"key {_show(first)} was read after {_show(after)}: source and target order keys differently",
            cure=_OTHER_KEY,
        )
    if upto is not None and key_order(last) > key_order(upto):
        raise PageRefusedError(
            f"key {_show(last)} lies beyond {_show(upto)}: source and target order keys differently", cure=_OTHER_KEY
        )


def _first_descent(rows: Rows) -> int | None:
    """The first index whose key is not strictly below the next row's, compared column by column as binary values."""
    count = rows.count - 1
    if count < 1:
        return None
    less = pa.array(np.zeros(count, bool))
    equal = pa.array(np.ones(count, bool))
    for column in rows.schema.key_columns:
        values = _comparable(rows.batch.column(column.name), column.type.name, rows, column.name)
        one, two = values.slice(0, count), values.slice(1, count)
        less = pc.or_(less, pc.and_(equal, pc.less(one, two)))
        equal = pc.and_(equal, pc.equal(one, two))
    wrong = np.flatnonzero(~less.to_numpy(zero_copy_only=False))
    return int(wrong[0]) if len(wrong) else None


def _comparable(values: pa.Array, type_name: str, rows: Rows, name: str) -> pa.Array:
    if type_name == "boolean":
        return pc.cast(values, pa.int8())
    if type_name in {"varchar", "char"}:
        return pc.cast(canonical_texts(values, rows.schema.column(name).type), pa.binary())
    if type_name == "uuid":
        return pc.cast(values, pa.binary())
    return values


def _show(key: Key) -> str:
    return "(" + ", ".join(repr(scalar.text) for scalar in key) + ")"
