"""What of an edited file comes into force in a running process, and what it says of the rest."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.configuration_file import ConfigurationFile, Renewal, renewal, still_there
from qupersync_shared.runtime.settings import Configuration, load

PATIENCE = 20.0


def tree() -> dict[str, Any]:
    return {
        "nats": {"servers": ["nats://127.0.0.1:4222"]},
        "target": {"dsn": "postgresql://app:secret@127.0.0.1:5432/app"},
        "pipelines": {"one": section("one")},
    }


def section(name: str) -> dict[str, Any]:
    return {"from": f"billing.{name}", "into": f"public.{name}", "key": ["id"]}


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def accept(_: Configuration) -> None: ...


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "qupersync.yaml"
    write(made, tree())
    return made


def renewed(path: Path, before: Configuration) -> Renewal:
    return renewal(before, path, sections=("nats", "target", "loader"), check=accept, environ={})


def test_pipelines_follow_the_file(path: Path) -> None:
    before = load(path, {})
    write(path, tree() | {"pipelines": {"two": section("two")}})
    found = renewed(path, before)
    assert (list(found.in_force.pipelines), found.trouble) == (["two"], None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pipelines: [", "not YAML"),
        ("nats: {servers: [nowhere]}", "qupersync.yaml:1"),
        ("pipelines: {one: {from: a.b, into: c.d, key: [id], page_rows: many}}", "page_rows"),
    ],
)
def test_a_file_that_is_wrong_anywhere_changes_nothing(path: Path, text: str, said: str) -> None:
    before = load(path, {})
    path.write_text(text, encoding="utf-8")
    found = renewed(path, before)
    assert found.in_force is before
    assert said in (found.trouble or "")
    assert "the one before goes on" in (found.trouble or "")


def test_a_file_that_is_gone_changes_nothing(path: Path) -> None:
    before = load(path, {})
    path.unlink()
    found = renewed(path, before)
    assert found.in_force is before
    assert "there is no such file" in (found.trouble or "")


def test_what_the_process_cannot_work_with_is_refused_with_its_place(path: Path) -> None:
    before = load(path, {})
    write(path, tree() | {"pipelines": {"two": section("two")}})

    def check(_: Configuration) -> None:
        raise ConfigurationError("is not to my taste", place="pipelines.two", cure="Write another one")

    found = renewal(before, path, sections=(), check=check, environ={})
    assert found.in_force is before
    assert f"{path}: pipelines.two: is not to my taste. Write another one" in (found.trouble or "")


def test_other_sections_stay_as_they_are_and_ask_for_a_restart(path: Path) -> None:
    before = load(path, {})
    other = {"target": {"dsn": "postgresql://app:hush7@127.0.0.1:5432/elsewhere"}, "extractor": {"lease": "9s"}}
    write(path, tree() | other | {"pipelines": {"two": section("two")}})
    found = renewed(path, before)
    assert (found.in_force.target, list(found.in_force.pipelines)) == (before.target, ["two"])
    assert "another target section" in (found.trouble or "")
    assert "restart" in (found.trouble or "")
    assert "hush7" not in (found.trouble or ""), "a secret was told"
    write(path, tree())
    assert renewed(path, found.in_force).trouble is None


def test_a_process_for_some_pipelines_keeps_those_that_are_left(path: Path) -> None:
    configuration = load(path, {})
    assert still_there((), configuration) == []
    assert still_there(("one", "two"), configuration) == ["one"]
    with pytest.raises(ConfigurationError, match="this process was started for: two"):
        still_there(("two",), configuration)


async def test_changes_are_taken_up_one_after_the_other_and_troubles_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qupersync_shared.runtime.configuration_file.LOOK_SECONDS", 0.02)
    file = ConfigurationFile(path)
    taken: asyncio.Queue[list[str]] = asyncio.Queue()
    told: asyncio.Queue[str | None] = asyncio.Queue()
    fails = True

    async def take(configuration: Configuration) -> None:
        nonlocal fails
        taken.put_nowait(sorted(configuration.pipelines))
        if fails:
            fails = False
            raise RuntimeError("a defect")

    following = asyncio.create_task(file.follow(sections=(), check=accept, take=take, tell=told.put_nowait))
    try:
        async with asyncio.timeout(PATIENCE):
            write(path, tree() | {"pipelines": {"one": section("one"), "two": section("two")}})
            assert await taken.get() == ["one", "two"]
            assert await told.get() is None
            assert "a defect" in (await told.get() or "")
            write(path, {"nothing": "of ours"})
            assert "nothing" in (await told.get() or "")
            write(path, tree() | {"pipelines": {"one": section("one"), "two": section("two")}})
            assert await taken.get() == ["one", "two"], "what was not taken up whole is tried again"
            assert await told.get() is None
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert taken.empty()
    assert sorted(file.in_force.pipelines) == ["one", "two"]
