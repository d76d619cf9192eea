"""The body of a batch event: one Arrow IPC stream with zstd buffers, and its checksum."""

import pyarrow as pa
import xxhash

_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def encode(batch: pa.RecordBatch) -> bytes:
    """The batch as an Arrow IPC stream of one record batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_OPTIONS) as writer:
        writer.write_batch(batch)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def decode(body: bytes) -> pa.RecordBatch:
    """The record batch that `encode` wrote; ValueError for anything else."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            batches = list(reader)
        for batch in batches:
            batch.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"not an Arrow IPC stream: {error}") from error
    if len(batches) != 1:
        raise ValueError(f"an event holds one record batch, this one holds {len(batches)}")
    return batches[0]


def checksum(body: bytes) -> str:
    """`xxh3-128:` and 32 hexadecimal digits over the body as it travels."""
    return "xxh3-128:" + xxhash.xxh3_128_hexdigest(body)
