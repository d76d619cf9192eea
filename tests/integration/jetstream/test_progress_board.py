"""Lanes' progress in the bucket: written when it changes, and again when the server came back with an older store."""

import asyncio
import contextlib
from datetime import UTC, datetime
from uuid import UUID

import pytest

from qupersync_loader.infrastructure.nats import board as board_module
from qupersync_loader.infrastructure.nats.board import NatsProgressBoard
from qupersync_local.nats import LocalNats
from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat
from qupersync_shared.contracts.subjects import PROGRESS_BUCKET
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.jetstream import Connection

AT = datetime(2025, 1, 1, tzinfo=UTC)
BEAT = ProcessHeartbeat(role="loader", instance="one", group="main", started_at=AT, beat_at=AT, version="1")


def progress(lane: int, sequence: int) -> LaneProgress:
    return LaneProgress(
        group="main",
        pipeline="cost",
        lane=lane,
        lanes=2,
        log=1,
        sequence=sequence,
        event_id=UUID(int=sequence),
        applied_at=AT,
    )


async def writes(connection: Connection) -> int:
    js = await connection.jetstream()
    return int((await js.stream_info(f"KV_{PROGRESS_BUCKET}")).state.last_seq)


async def stored(connection: Connection) -> dict[str, int]:
    found = await bucket.read(await connection.client(), ["lane.>"])
    return {name: LaneProgress.model_validate_json(entry.value).sequence for name, entry in found.items()}


async def publish_when_back(board: NatsProgressBoard, lane: LaneProgress) -> None:
    """As soon as the client has found its way back to the server."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(QupersyncError):
                await board.publish(BEAT, [lane])
                return
            await asyncio.sleep(0.1)


async def test_only_what_has_changed_is_written(connection: Connection) -> None:
    board = NatsProgressBoard(connection)
    await board.publish(BEAT, [progress(0, 1), progress(1, 1)])
    before = await writes(connection)

    await board.publish(BEAT, [progress(0, 2), progress(1, 1)])

    assert await writes(connection) == before + 2  # the heartbeat and one lane
    assert await stored(connection) == {"lane.main.cost.0": 2, "lane.main.cost.1": 1}


async def test_everything_is_written_again_after_a_while(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = NatsProgressBoard(connection)
    await board.publish(BEAT, [progress(0, 1), progress(1, 1)])
    before = await writes(connection)
    monkeypatch.setattr(board_module, "RENEW_SECONDS", 0.0)

    await board.publish(BEAT, [progress(0, 1), progress(1, 1)])

    assert await writes(connection) == before + 3


async def test_everything_is_written_to_a_server_that_came_back_older(
    connection: Connection, server: LocalNats
) -> None:
    board = NatsProgressBoard(connection)
    await board.publish(BEAT, [progress(0, 1)])
    await server.backup("old")
    await publish_when_back(board, progress(0, 7))
    await server.restore("old")

    await publish_when_back(board, progress(0, 7))

    assert await stored(connection) == {"lane.main.cost.0": 7}


async def test_everything_is_written_to_a_bucket_that_was_lost(connection: Connection) -> None:
    board = NatsProgressBoard(connection)
    await board.publish(BEAT, [progress(0, 7)])
    await (await connection.jetstream()).delete_stream(f"KV_{PROGRESS_BUCKET}")

    await board.publish(BEAT, [progress(0, 7)])

    assert await stored(connection) == {"lane.main.cost.0": 7}
