"""One event for people (a line, and its rows) and for scripts (a document), whatever stands in the stream."""

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.infinity import plain_row
from qupersync_shared.contracts.payload import checksum, decode
from qupersync_shared.kernel.errors import EventRefusedError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.kernel.positions import encode_key, encode_position
from qupersync_shared.runtime.console import bytes_shown
from qupersync_shared.runtime.stream_reading import StreamMessage


def line(pipeline: PipelineName, message: StreamMessage) -> str:
    """Time, lane and stream sequence, and what the event is."""
    head = f"{_text(message.at)}  #{message.sequence:<8} lane {_lane(message):<3}"
    envelope, problem = _envelope(pipeline, message)
    if envelope is None:
        return f"{head} FOREIGN  {bytes_shown(message.bytes)}  {problem}"
    told = [f"{envelope.log}/{envelope.sequence}"]
    if envelope.generation:
        told.append(f"generation {envelope.generation}")
    told += [envelope.mode.value, f"{envelope.row_count:,} rows", bytes_shown(message.bytes)]
    if envelope.snapshot_first or envelope.snapshot_last:
        told.append("+".join(word for word, holds in _ends(envelope) if holds) + " page")
    if envelope.honest_time is not None:
        told.append(f"complete to {_text(envelope.honest_time)}")
    if envelope.withheld_keys:
        told.append(f"{len(envelope.withheld_keys)} keys withheld")
    if message.body and (damage := _damage(envelope, message)) is not None:
        told.append(f"CORRUPT: {damage}")
    return f"{head} {'  '.join(told)}"


def row_lines(message: StreamMessage) -> list[str]:
    """The rows as `column=value`; nothing for what cannot be decoded, of which the line above tells."""
    rows, _ = _rows(message.body)
    return ["  ".join(f"{name}={_value(value)!r}" for name, value in row.items()) for row in rows or ()]


def document(pipeline: PipelineName, message: StreamMessage, *, headers_only: bool) -> dict[str, Any]:
    """Everything known of the message as plain values; `problem` says what is wrong with it, `rows` None why not."""
    envelope, problem = _envelope(pipeline, message)
    shown: dict[str, Any] = {
        "stream_sequence": message.sequence,
        "lane": message.lane,
        "stored_at": _text(message.at),
        "bytes": message.bytes,
        "event": None if envelope is None else _plain(envelope),
        "rows": None,
        "problem": problem,
    }
    if envelope is None:
        return shown | {"headers": message.headers}
    if not headers_only:
        rows, unreadable = _rows(message.body)
        shown["rows"] = None if rows is None else [{k: _value(v) for k, v in row.items()} for row in rows]
        shown["problem"] = _damage(envelope, message) or unreadable
    return shown


def _envelope(pipeline: PipelineName, message: StreamMessage) -> tuple[BatchEnvelope | None, str | None]:
    try:
        envelope = BatchEnvelope.from_headers(message.headers)
    except EventRefusedError as error:
        return None, str(error)
    if (envelope.pipeline, envelope.lane) != (pipeline, message.lane):
        return None, f"an event of {envelope.pipeline}, lane {envelope.lane}"
    return envelope, None


def _damage(envelope: BatchEnvelope, message: StreamMessage) -> str | None:
    if checksum(message.body) != envelope.checksum:
        return "the checksum does not fit"
    return None


def _rows(body: bytes) -> tuple[list[dict[str, Any]] | None, str | None]:
    try:
        batch: pa.RecordBatch = decode(body)
        # Of columns with one name the last would hide the others; the contract has none.
        rows = [plain_row(batch, index) for index in range(batch.num_rows)]
    except (ValueError, OverflowError, pa.ArrowException) as error:
        return None, f"the rows cannot be decoded: {error}"
    return rows, None


def _plain(envelope: BatchEnvelope) -> dict[str, Any]:
    keys = {"range_from", "range_to", "withheld_keys", "after", "position"}
    shown = envelope.model_dump(mode="json", exclude=keys)
    for name in ("range_from", "range_to"):
        key = getattr(envelope, name)
        shown[name] = None if key is None else encode_key(key)
    for name in ("after", "position"):
        position = getattr(envelope, name)
        shown[name] = None if position is None else encode_position(position)
    return shown | {"withheld_keys": [encode_key(key) for key in envelope.withheld_keys]}


def _value(value: Any) -> Any:
    """What JSON has no word for, as text; bytes in hexadecimal."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _ends(envelope: BatchEnvelope) -> tuple[tuple[str, bool], ...]:
    return ("first", envelope.snapshot_first), ("last", envelope.snapshot_last)


def _lane(message: StreamMessage) -> str:
    return "?" if message.lane is None else str(message.lane)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
