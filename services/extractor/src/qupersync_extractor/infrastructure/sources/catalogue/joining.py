"""Joins of what several views say, column by column."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def looked_up(keys: pa.Array, found: pa.Table, *, key: str, column: str) -> pa.Array:
    """For each of `keys` what `column` says in the row of `found` with it, `key` being unique; NULL without a row."""
    places = pc.index_in(keys, value_set=_whole(found, key))
    return _whole(found, column).take(places)


def latest_at(keys: pa.Array, moments: pa.Array, found: pa.Table, *, key: str, moment: str, column: str) -> pa.Array:
    """For each of `keys` what `column` said in the latest row of `found` with it, at or before its moment.

    Of rows of one moment, one that says something counts. NULL where there was no row, or it said nothing.
    """
    count = found.num_rows
    said = _whole(found, column)
    all_keys = np.concatenate([_numbers(_whole(found, key)), _numbers(keys)])
    all_moments = np.concatenate([_numbers(_whole(found, moment)), _numbers(moments)])
    # Of one moment: rows that say nothing, then those that do, then who asks.
    ranks = np.concatenate(
        [said.is_valid().to_numpy(zero_copy_only=False).astype(np.int8), np.full(len(keys), 2, np.int8)]
    )
    order = np.lexsort((ranks, all_moments, all_keys))
    asks = order >= count
    latest = np.maximum.accumulate(np.where(asks, -1, np.arange(len(order))))
    rows = order[np.maximum(latest, 0)]
    known = asks & (latest >= 0) & (all_keys[rows] == all_keys[order])
    places = np.full(len(keys), -1, np.int64)
    places[order[known] - count] = rows[known]
    absent = (places < 0) | (pc.or_(keys.is_null(), moments.is_null())).to_numpy(zero_copy_only=False)
    return said.take(pa.array(places, pa.int64(), mask=absent))


def distinct(values: pa.Array) -> pa.Array:
    """The values without NULL, each once, ascending."""
    once = pc.unique(values.drop_null())
    return once.take(pc.sort_indices(once))


def _numbers(values: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _whole(table: pa.Table, column: str) -> pa.Array:
    return table.column(column).combine_chunks()
