"""A lane that stands at columns which the target refuses, and goes on by itself when the source takes them back."""

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from tests.conformance.loader.conftest import PostgresHarness
from tests.conformance.loader.events import ints, people, schema
from tests.integration.loader.world import World, eventually, opened

from qupersync_loader.infrastructure.nats import ahead
from qupersync_loader.infrastructure.nats.ahead import LanesAhead
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.commands import ResendReply, ResendStatus
from qupersync_shared.contracts.subjects import COMMAND_RESEND
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.runtime.stream_reading import reading

CHANGED = schema(id="bigint", name="varchar", amount="varchar")
BETWEEN = 30


@pytest.fixture
async def world(postgres: PostgresHarness, local_stack: ThreadedStack) -> AsyncIterator[World]:
    async with opened(postgres, local_stack.stack.nats.url) as made:
        yield made


def odd(*ids: int) -> list[dict[str, Any]]:
    return [{**row, "amount": "much"} for row in people(*ids, name="odd")]


async def test_lanes_go_on_when_the_source_has_taken_back_what_is_refused(world: World) -> None:
    def rewind(_: bytes) -> bytes:
        return ResendReply(status=ResendStatus.REWOUND, generation=1).model_dump_json().encode()

    asked = await world.serve(COMMAND_RESEND, rewind)
    source, plain = world.source, world.source.schema
    for name in ("one", "two"):
        await world.loader(name).start()
    await world.publish(source.page(people(*range(100))))
    await world.applied(1)
    source.schema = CHANGED
    await world.publish(source.page(odd(*range(50)), upto=ints(49)), source.page(odd(*range(50, 100)), after=ints(49)))
    for step in range(BETWEEN):
        await world.publish(source.incremental(odd(*range(step, 100, 7))))

    async def told() -> bool:
        return "column 'amount'" in (await world.trouble() or "")

    await eventually(told, "the reason why both lanes stand", services=world.services)
    assert await world.sequences() == [1, 1]
    source.schema = plain
    await world.publish(source.page(people(*range(90), name="back")), source.incremental(people(90)))
    await world.applied(BETWEEN + 5)
    assert await world.rows() == {**{i: f"back{i}" for i in range(90)}, 90: "n90"}
    assert asked == []  # nothing was lost

    async def well() -> bool:
        return await world.trouble() == ""

    await eventually(well, "no trouble is left", services=world.services)
    for process in world.services.processes.values():
        assert await process.stop() == 0, process.tail()


async def test_what_stands_ahead_is_seen_in_parts_and_each_message_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_LOOK_MAX", 4)
    read: list[int] = []
    real = reading

    def noted(*arguments: Any, **named: Any) -> Any:
        read.append(named["from_sequence"])
        return real(*arguments, **named)

    monkeypatch.setattr(ahead, "reading", noted)
    source, lane = world.source, Lane(1)
    await world.publish(source.page(people(1)), *(source.incremental() for _ in range(5)))
    await world.client.jetstream().publish(f"qupersync.lane.{world.name}.1", b"foreign")
    second = source.page(people(2))
    await world.publish(second)
    js = world.client.jetstream()
    async with reading(js, world.name, lanes=[lane], headers_only=True) as (stream, _):
        first, *_, last = await stream.next(100, seconds=10)
    lanes = LanesAhead(world.connection)

    async def look(message: Any = first) -> list[tuple[int, int]]:
        found = await lanes.baselines(world.name, lane, (message.sequence, message.at))
        return [(one.event.sequence, one.event.lane) for one in found]

    assert await look() == []
    assert await look() == [(7, 1)]
    third = source.page(people(3))
    await world.publish(third)
    assert await look() == [(8, 1)]
    assert await look() == [(8, 1)]
    # Each look goes on where the one before has ended; the last two find nothing new.
    assert read[0] == first.sequence + 1
    assert all(one < other for one, other in pairwise(read[:4]))
    assert await look(last) == [(8, 1)]
    assert read[-1] > last.sequence
