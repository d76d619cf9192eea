"""What a slow server tells only in part must not pass for the whole."""

from typing import Any
from uuid import uuid4

import pytest

from qupersync_extractor.infrastructure.jetstream.retention import JetStreamRetention
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import lane_subject
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.kernel.ids import Lane, PipelineName
from qupersync_shared.runtime.jetstream import Connection, ensure_stream
from qupersync_shared.runtime.settings import NatsSection
from qupersync_shared.runtime.stream_reading import StreamReading


async def test_lanes_that_were_not_told_in_time_are_no_lanes_without_messages(
    local_stack: ThreadedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = PipelineName(f"p{uuid4().hex[:8]}")
    section = NatsSection(servers=[local_stack.stack.nats.url])
    connection = Connection(section, name="test", timeout=5)
    try:
        js = await connection.jetstream()
        await ensure_stream(js, name, section)
        for lane in range(4):
            await js.publish(lane_subject(name, Lane(lane)), b"x")
        kept = JetStreamRetention(connection)
        assert await kept.tops(name) == {0: 1, 1: 2, 2: 3, 3: 4}
        fetch, calls = StreamReading.next, 0

        async def slow(reading: StreamReading, count: int, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            return await fetch(reading, 1, **named) if calls <= 2 else []

        monkeypatch.setattr(StreamReading, "next", slow)
        with pytest.raises(StreamUnavailableError, match="2 of 4 lanes"):
            await kept.tops(name)
        await js.delete_stream(f"qupersync_{name}")
    finally:
        await connection.close()
