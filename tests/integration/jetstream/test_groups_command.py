"""`qupersync groups` against a real server: who claims what, and how a claim ends."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from qupersync_extractor.infrastructure.jetstream.progress import JetStreamProgress
from qupersync_shared.contracts.places import StreamPlaces
from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat, lane_key
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.cli.app import build_app
from qupersync_shared.runtime.jetstream import Connection, ensure_bucket, ensure_consumer, ensure_stream
from qupersync_shared.runtime.plugins import Plugins
from qupersync_shared.runtime.settings import NatsSection

COST, OLD = PipelineName("cost"), PipelineName("cost_old")


class Groups:
    """Two groups on two pipelines, one of which the configuration no longer has; `main` is alive."""

    def __init__(self, connection: Connection, config: Path) -> None:
        self.connection = connection
        self.config = config

    async def register(self, group: str, pipeline: PipelineName, *, lanes: int = 2) -> None:
        js = await self.connection.jetstream()
        now = datetime.now(UTC)
        for lane in map(Lane, range(lanes)):
            await ensure_consumer(js, GroupName(group), pipeline, lane, 30)
            entry = LaneProgress(
                group=group,
                pipeline=pipeline,
                lane=lane,
                lanes=lanes,
                log=1,
                sequence=7,
                event_id=uuid4(),
                applied_at=now,
            )
            key = lane_key(GroupName(group), pipeline, lane)
            await bucket.write(js, key, entry.model_dump_json().encode())

    async def beat(self, group: str) -> None:
        now = datetime.now(UTC)
        beat = ProcessHeartbeat(role="loader", instance="a", group=group, started_at=now, beat_at=now, version="1")
        await JetStreamProgress(self.connection).beat(beat)

    async def run(self, *arguments: str, typed: str = "") -> Result:
        given = ["--config", str(self.config), "groups", *arguments]
        return await asyncio.to_thread(CliRunner().invoke, build_app(Plugins()), given, typed)

    async def listed(self) -> list[dict[str, Any]]:
        answer = await self.run("list", "--json")
        assert answer.exit_code == 0, answer.exception
        found: list[dict[str, Any]] = json.loads(answer.stdout)["groups"]
        return found

    async def names(self) -> list[tuple[str, str]]:
        return [(entry["group"], entry["pipeline"]) for entry in await self.listed()]

    async def consumers(self, pipeline: PipelineName) -> list[str]:
        js = await self.connection.jetstream()
        return sorted(info.name for info in await js.consumers_info(stream_name(pipeline)))


@pytest.fixture
async def groups(connection: Connection, section: NatsSection, tmp_path: Path) -> Groups:
    js = await connection.jetstream()
    await ensure_bucket(js)
    for pipeline in (COST, OLD):
        await ensure_stream(js, pipeline, section)
    config = tmp_path / "qupersync.yaml"
    pipelines = {"cost": {"from": "a.b", "into": "c.d", "key": ["id"], "lanes": 2}}
    config.write_text(yaml.safe_dump({"nats": {"servers": section.servers}, "pipelines": pipelines}))
    return Groups(connection, config)


@pytest.fixture
async def registered(groups: Groups) -> Groups:
    await groups.register("main", COST)
    await groups.register("gone", COST)
    await groups.register("gone", OLD)
    await groups.beat("main")
    return groups


async def test_nobody_is_listed_before_anybody_came(groups: Groups) -> None:
    assert await groups.listed() == []
    assert "no loader group" in (await groups.run("list")).stdout


async def test_groups_are_listed_with_what_they_claim(registered: Groups) -> None:
    told = StreamPlaces(pipeline=COST, stream_made_at=datetime.now(UTC), held_by=("gone",))
    await JetStreamProgress(registered.connection).put_places(told)
    js = await registered.connection.jetstream()
    await js.publish("qupersync.lane.cost.1", b"?")

    gone, old, main = await registered.listed()

    assert [(entry["group"], entry["pipeline"]) for entry in (gone, old, main)] == [
        ("gone", "cost"),
        ("gone", "cost_old"),
        ("main", "cost"),
    ]
    assert (gone["alive"], main["alive"]) == (False, True)
    assert (gone["holds_stream"], old["holds_stream"], main["holds_stream"]) == (True, False, False)
    assert (gone["waiting_events"], old["waiting_events"]) == (1, 0)
    assert [lane["sequence"] for lane in main["lanes"]] == [7, 7]
    shown = (await registered.run("list")).stdout.splitlines()
    assert len(shown) == 4


async def test_a_group_that_is_gone_is_removed_everywhere(registered: Groups) -> None:
    assert (await registered.run("remove", "gone", typed="n\n")).exit_code == 1
    assert len(await registered.names()) == 3, "it was asked first"
    answer = await registered.run("remove", "gone", "--yes")
    assert answer.exit_code == 0, answer.exception
    assert await registered.names() == [("main", "cost")]
    assert await registered.consumers(COST) == ["main_cost_0", "main_cost_1"]
    assert await registered.consumers(OLD) == []
    progress = JetStreamProgress(registered.connection)
    assert {entry.group for entry in await progress.lanes(COST)} == {"main"}
    assert isinstance((await registered.run("remove", "gone", "--yes")).exception, QupersyncError)


async def test_one_pipeline_may_be_left_alone(registered: Groups) -> None:
    assert (await registered.run("remove", "gone", "-p", "cost_old", "--yes")).exit_code == 0
    assert await registered.names() == [("gone", "cost"), ("main", "cost")]


async def test_a_running_group_is_removed_only_by_force(registered: Groups) -> None:
    answer = await registered.run("remove", "main", "--yes")
    assert "is running" in str(answer.exception)
    assert ("main", "cost") in await registered.names()
    assert (await registered.run("remove", "main", "--yes", "--force")).exit_code == 0
    assert ("main", "cost") not in await registered.names()


async def test_an_unknown_group_names_those_that_are_there(registered: Groups) -> None:
    answer = await registered.run("remove", "nobody", "--yes")
    assert "Known groups: gone, main" in str(answer.exception)


async def test_marks_of_removed_keys_do_not_pile_up(registered: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "_MARK_SECONDS", 1.0)
    progress = JetStreamProgress(registered.connection)
    js = await registered.connection.jetstream()
    before = (await js.stream_info("KV_qupersync_progress")).state.messages
    now = datetime.now(UTC)
    for number in range(5):
        beat = ProcessHeartbeat(role="relay", instance=f"i{number}", started_at=now, beat_at=now, version="1")
        await progress.beat(beat)
        await progress.leave("relay", f"i{number}")
    async with asyncio.timeout(60):
        while (await js.stream_info("KV_qupersync_progress")).state.messages > before:  # noqa: ASYNC110  # it expires
            await asyncio.sleep(0.2)
