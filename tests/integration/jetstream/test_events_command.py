"""`qupersync events` against a real server: whatever stands in a stream is shown, and nothing durable is touched."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from qupersync_local.nats import LocalNats
from qupersync_shared.contracts.envelope import BatchEnvelope, Mode
from qupersync_shared.contracts.payload import checksum, encode
from qupersync_shared.contracts.subjects import lane_subject, stream_name
from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError, StreamUnavailableError
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime.cli.app import build_app
from qupersync_shared.runtime.cli.events import Wanted, events
from qupersync_shared.runtime.cli.events_shown import line
from qupersync_shared.runtime.jetstream import Connection, ensure_consumer, ensure_stream
from qupersync_shared.runtime.plugins import Plugins
from qupersync_shared.runtime.settings import NatsSection
from qupersync_shared.runtime.stream_reading import StreamMessage

COST = PipelineName("cost")
BODY = encode(pa.record_batch({"id": pa.array([1, 2]), "note": pa.array(["a", None]), "ratio": [float("nan"), 1.5]}))


def envelope(sequence: int, lane: int, body: bytes = BODY, **changes: Any) -> BatchEnvelope:
    fields = {
        "id": uuid4(),
        "source": "urn:test",
        "subject": lane_subject(COST, Lane(lane)),
        "time": datetime.now(UTC),
        "pipeline": COST,
        "lane": lane,
        "lanes": 2,
        "log": 1,
        "sequence": sequence,
        "mode": Mode.INCREMENTAL,
        "row_count": 2,
        "key_columns": ("id",),
        "schema_fingerprint": "f",
        "checksum": checksum(body),
        "correlation_id": uuid4(),
        "honest_time": datetime(2026, 1, 2, tzinfo=UTC),
    }
    return BatchEnvelope.model_validate(fields | changes)


class Published:
    """A stream with an event on each of two lanes, a foreign message, a corrupt event, and a snapshot's only page."""

    def __init__(self, connection: Connection, section: NatsSection, config: Path) -> None:
        self.connection = connection
        self.section = section
        self.config = config

    async def publish(self, event: BatchEnvelope, body: bytes = BODY) -> None:
        js = await self.connection.jetstream()
        await js.publish(lane_subject(COST, Lane(event.lane)), body, headers=event.headers())

    async def fill(self) -> None:
        js = await self.connection.jetstream()
        await ensure_stream(js, COST, self.section)
        await self.publish(envelope(1, 0))
        await self.publish(envelope(1, 1))
        await js.publish(lane_subject(COST, Lane(0)), b"?")
        await self.publish(envelope(2, 0), BODY[:-7])
        whole = {"mode": Mode.SNAPSHOT, "snapshot_id": UUID(int=5), "snapshot_first": True, "snapshot_last": True}
        await self.publish(envelope(2, 1, generation=3, **whole))

    async def run(self, *arguments: str) -> Result:
        """The command in this process: the last test has one of its own."""
        given = ["--config", str(self.config), "events", *arguments]
        return await asyncio.to_thread(CliRunner().invoke, build_app(Plugins()), given)


@pytest.fixture
async def published(connection: Connection, section: NatsSection, tmp_path: Path) -> Published:
    config = tmp_path / "qupersync.yaml"
    pipelines = {name: {"from": "a.b", "into": f"c.{name}", "key": ["id"], "lanes": 2} for name in ("cost", "other")}
    config.write_text(yaml.safe_dump({"nats": {"servers": section.servers}, "pipelines": pipelines}))
    made = Published(connection, section, config)
    await made.fill()
    return made


async def test_one_line_an_event_whatever_it_is(published: Published) -> None:
    answer = await published.run("cost", "--rows")
    assert answer.exit_code == 0
    events_shown = [text for text in answer.stdout.splitlines() if not text.startswith(" ")]
    assert [text.split("#")[1].split()[0] for text in events_shown] == ["1", "2", "3", "4", "5"]
    assert "1/1  incremental  2 rows" in events_shown[0]
    assert "complete to 2026-01-02T00:00:00.000Z" in events_shown[0]
    assert "FOREIGN" in events_shown[2]
    assert "CORRUPT: the checksum does not fit" in events_shown[3]
    assert "generation 3  snapshot" in events_shown[4]
    assert "first+last page" in events_shown[4]
    assert [text.strip() for text in answer.stdout.splitlines() if text.startswith(" ")][:2] == [
        "id=1  note='a'  ratio='nan'",
        "id=2  note=None  ratio=1.5",
    ]


async def test_documents_are_one_a_line_with_rows(published: Published) -> None:
    answer = await published.run("cost", "--json")
    assert answer.exit_code == 0
    shown = [json.loads(text) for text in answer.stdout.splitlines()]
    assert [document["stream_sequence"] for document in shown] == [1, 2, 3, 4, 5]
    assert shown[0]["rows"] == [{"id": 1, "note": "a", "ratio": "nan"}, {"id": 2, "note": None, "ratio": 1.5}]
    assert shown[0]["event"]["mode"] == "incremental"
    assert [document["problem"] is None for document in shown] == [True, True, False, False, True]
    assert shown[2]["event"] is None
    assert shown[3]["rows"] is None


async def test_lanes_a_beginning_and_a_limit_choose_events(published: Published) -> None:
    async def sequences(*arguments: str) -> list[int]:
        answer = await published.run("cost", "--json", "--headers-only", *arguments)
        assert answer.exit_code == 0, answer.exception
        return [json.loads(text)["stream_sequence"] for text in answer.stdout.splitlines()]

    assert await sequences("--lane", "1") == [2, 5]
    assert await sequences("--lane", "0", "--lane", "1", "--from-sequence", "2") == [2, 3, 4, 5]
    assert await sequences("--from-sequence", "3", "--limit", "2") == [3, 4]
    assert await sequences("--from-sequence", "99") == []


async def test_errors_name_the_cure(published: Published) -> None:
    for arguments, kind, words in (
        (("nothing",), ConfigurationError, "Known pipelines: cost, other"),
        (("other",), StreamUnavailableError, "migrate"),
        (("cost", "--lane", "7"), QupersyncError, "Lanes that have: 0, 1"),
    ):
        answer = await published.run(*arguments)
        assert isinstance(answer.exception, kind)
        assert words in str(answer.exception)


async def test_reading_leaves_nothing_behind_and_moves_no_consumer(published: Published) -> None:
    js = await published.connection.jetstream()
    await ensure_consumer(js, GroupName("main"), COST, Lane(0), 30)
    await published.run("cost")
    assert [consumer.name for consumer in await js.consumers_info(stream_name(COST))] == ["main_cost_0"]
    info = await js.consumer_info(stream_name(COST), "main_cost_0")
    assert (info.num_pending, info.num_ack_pending) == (3, 0)


async def test_following_sees_what_comes_also_after_the_server_was_away(
    published: Published, server: LocalNats
) -> None:
    wanted = Wanted(pipeline=COST, lanes=(Lane(0),), from_sequence=4, follow=True)
    following = events(published.section, wanted)
    async with asyncio.timeout(90):
        assert (await anext(following)).sequence == 4
        await published.publish(envelope(3, 0))
        assert (await anext(following)).sequence == 6
        await server.kill()
        waiting = asyncio.ensure_future(anext(following))
        await asyncio.wait((waiting,), timeout=1)
        await server.run()
        while True:
            try:
                await published.publish(envelope(4, 0))
                break
            except (StreamUnavailableError, OSError):
                await asyncio.sleep(0.1)
        assert (await waiting).sequence == 7
    await following.aclose()


async def test_a_reader_that_goes_away_ends_it_quietly(published: Published) -> None:
    process = await asyncio.create_subprocess_shell(
        f"set -o pipefail; {sys.executable} -c "
        "'from qupersync_shared.runtime.cli import main; main()' events cost --follow | head -n 1",
        env={**os.environ, "QUPERSYNC_CONFIG": str(published.config)},
        executable="/bin/bash",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    # It notices with its next event.
    publishing = asyncio.create_task(_keep_publishing(published))
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        publishing.cancel()
    assert (process.returncode, err) == (0, b"")
    assert out.count(b"\n") == 1


async def _keep_publishing(published: Published) -> None:
    for sequence in range(10, 1000):
        await published.publish(envelope(sequence, 0))
        await asyncio.sleep(0.2)


def test_any_message_makes_a_line() -> None:
    for headers, body in (
        ({}, b""),
        ({"ce-type": "qupersync.batch.v1", "ce-specversion": "1.0"}, b"\xff"),
        (envelope(1, 0).headers(), b""),
        ({**envelope(1, 0).headers(), "ce-lane": "99999999999999999999"}, BODY),
    ):
        message = StreamMessage(
            sequence=1, lane=None, at=datetime.now(UTC), headers=headers, body=body, bytes=0, waiting=0
        )
        assert line(COST, message)
