"""The commands, in the order in which a new user meets them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.world import World, assert_one_message, command, opened

from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e


async def test_from_init_to_equal_tables(local_stack: ThreadedStack, tmp_path: Path) -> None:
    async with opened(local_stack) as world:
        await world.insert(1, 2_000, moment="timestamp '2024-01-01' + n * interval '1 second'")
        file = tmp_path / "qupersync.yaml"
        assert (await command("qupersync", "init", directory=tmp_path)).code == 0
        again = await command("qupersync", "init", directory=tmp_path)
        assert again.code == 2
        assert_one_message(again, "qupersync.yaml", "--force")
        _edit(file, world)

        assert (await command("qupersync", "check", directory=tmp_path)).code == 1  # nothing is migrated yet
        migrations = await asyncio.gather(
            *(
                command(name, "migrate", directory=tmp_path)
                for name in ("qupersync-extractor", "qupersync-loader")
                for _ in range(2)
            )
        )
        assert [answer.code for answer in migrations] == [0, 0, 0, 0], migrations
        checked = await command("qupersync", "check", directory=tmp_path)
        assert checked.code == 0, checked

        extracted = await command("qupersync-extractor", "run", "--once", directory=tmp_path)
        assert extracted.code == 0, extracted
        loaded = await command("qupersync-loader", "run", "--until-drained", directory=tmp_path)
        assert loaded.code == 0, loaded
        await world.assert_equal(rows=2_000)

        shown = await command("qupersync", "status", "--json", directory=tmp_path)
        document = json.loads(shown.out)
        assert world.name in _names(document["pipelines"])
        assert shown.code == (0 if document["reason"] is None else 1)
        people = await command("qupersync", "status", directory=tmp_path)
        assert world.name in people.out
        assert "\x1b[" not in people.out  # no colours where nobody watches


async def test_versions_and_unknown_commands(tmp_path: Path) -> None:
    version, unknown = await asyncio.gather(
        command("qupersync", "--version", directory=tmp_path),
        command("qupersync", "no-such-command", directory=tmp_path),
    )
    assert version.code == 0
    assert "qupersync" in version.out
    assert unknown.code == 2
    assert "no-such-command" in unknown.err
    assert "Traceback" not in unknown.err


def _edit(file: Path, world: World) -> None:
    """What a user does: own addresses and pipeline, the rest as `init` wrote it."""
    written: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    wanted = world.configuration
    for section in ("source", "outbox", "nats", "target"):
        written[section] = wanted[section]
    written["pipelines"] = wanted["pipelines"]
    file.write_text(yaml.safe_dump(written), encoding="utf-8")


def _names(pipelines: Any) -> list[str]:
    return list(pipelines) if isinstance(pipelines, dict) else [one["name"] for one in pipelines]
