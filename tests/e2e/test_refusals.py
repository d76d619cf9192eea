"""Bad configuration: exit code 2 and one clear message that names place and cure, never a traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.world import assert_one_message, command, opened

from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e
Tree = dict[str, Any]


def base() -> Tree:
    return {
        "source": {
            "kind": "redshift",
            "host": "127.0.0.1",
            "port": 1,
            "database": "dev",
            "user": "sync",
            "password": "x",
        },
        "outbox": {"dsn": "postgresql://x:y@127.0.0.1:1/qupersync"},
        "nats": {"servers": ["nats://127.0.0.1:1"]},
        "target": {"dsn": "postgresql://x:y@127.0.0.1:1/app"},
        "pipelines": {"cost": {"from": "billing.cost", "into": "public.cost", "key": ["id"], "cursor": "updated_at"}},
    }


def _pipeline(**changes: Any) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        for name, value in changes.items():
            if value is None:
                del tree["pipelines"]["cost"][name]
            else:
                tree["pipelines"]["cost"][name] = value

    return change


def _without_password(tree: Tree) -> None:
    del tree["source"]["password"]


def _remote_secret(tree: Tree) -> None:
    tree["target"]["dsn"] = "postgresql://x:secret@db.example.com/app"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        pytest.param(_pipeline(lookbakc="10m"), ("lookbakc", "qupersync.yaml:", "lookback"), id="unknown key"),
        pytest.param(_pipeline(key=None), ("pipelines.cost.key", "qupersync.yaml"), id="pipeline without key"),
        pytest.param(_pipeline(into=f"public.{'x' * 64}"), ("63", "qupersync.yaml:", "into"), id="long identifier"),
        pytest.param(_pipeline(lookback="ten"), ("lookback", "10m", "qupersync.yaml:"), id="not a duration"),
        pytest.param(_pipeline(key=["id", "k" * 64]), ("63", "qupersync.yaml:", "key"), id="long key column"),
        pytest.param(lambda tree: tree.pop("nats"), ("nats", "qupersync.yaml"), id="missing section"),
        pytest.param(_without_password, ("source.password", "QUPERSYNC_SOURCE__PASSWORD"), id="missing secret"),
        pytest.param(_remote_secret, ("target.dsn", "QUPERSYNC_TARGET__PASSWORD"), id="secret in the file"),
    ],
)
async def test_a_bad_file_is_refused(tmp_path: Path, change: Callable[[Tree], Any], parts: tuple[str, ...]) -> None:
    tree = base()
    change(tree)
    (tmp_path / "qupersync.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    answer = await command("qupersync-extractor", "run", "--once", directory=tmp_path)
    assert answer.code == 2, answer
    assert_one_message(answer, *parts)


async def test_the_loader_and_the_operator_command_refuse_alike(tmp_path: Path) -> None:
    tree = base()
    tree["pipelines"]["cost"]["lookbakc"] = "10m"
    (tmp_path / "qupersync.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    for name, arguments in (("qupersync-loader", ("run", "--until-drained")), ("qupersync", ("check",))):
        answer = await command(name, *arguments, directory=tmp_path)
        assert answer.code == 2, answer
        assert_one_message(answer, "lookbakc", "qupersync.yaml:", "lookback")


async def test_a_missing_file_names_init(tmp_path: Path) -> None:
    answer = await command("qupersync-loader", "migrate", directory=tmp_path)
    assert answer.code == 2, answer
    assert_one_message(answer, "qupersync.yaml", "qupersync init")


async def test_a_key_column_that_the_source_does_not_have(local_stack: ThreadedStack) -> None:
    async with opened(local_stack, pipeline={"key": ["no_such_column"]}) as world:
        await world.migrate()
        answer = await command("qupersync-extractor", "run", "--once", config=world.services.configuration)
        assert answer.code == 2, answer
        assert_one_message(answer, "no_such_column", f"pipelines.{world.name}.key", "qupersync.yaml")
