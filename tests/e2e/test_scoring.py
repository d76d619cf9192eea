"""Scores through whole services: what a real model says of each row stands at the target, and what it refuses waits."""

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import joblib
import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from tests.conformance.models.conftest import stored
from tests.e2e.editing import edit
from tests.e2e.world import World, opened
from tests.e2e.world import eventually as eventually_within
from tests.integration.scoring.test_artifacts import Canary

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e

eventually = partial(eventually_within, seconds_max=150, pause_seconds=0.5)

FEATURES = ["plan", "mrr", "seats"]
COLUMNS = "id bigint NOT NULL, plan smallint, mrr numeric(12, 2), seats integer, note varchar(40), updated_at timestamp"
NOW = "timezone('UTC', transaction_timestamp())"
# Every 97th row has a plan that the first model never met, every 89th no seats.
ROWS = """
    INSERT INTO {table}
    SELECT n, CASE WHEN n % 97 = 0 THEN 7 ELSE 1 + n % 3 END, (n * 7919 % 100003) / 100.0,
           CASE WHEN n % 89 <> 0 THEN n % 50 END, 'customer ' || n, {now}
    FROM generate_series({first}::bigint, {last}::bigint) AS n
"""
COUNT = 1500
PLAN, SEATS = {n for n in range(1, COUNT + 1) if n % 97 == 0}, {n for n in range(1, COUNT + 1) if n % 89 == 0}


def trained() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(20)
    rows = np.column_stack(
        [random.integers(1, 4, 600), random.uniform(0, 1000, 600), random.integers(0, 50, 600)]
    ).astype(float)
    return rows, (rows[:, 1] / 20 + rows[:, 2] + random.normal(0, 8, 600) < 45).astype(int)


def strict() -> Any:
    """It raises for a plan that it never met, and takes no missing value."""
    encoded = make_column_transformer((OneHotEncoder(), [0]), remainder="passthrough")
    return make_pipeline(encoded, LogisticRegression(max_iter=2000)).fit(*trained())


def lenient() -> Any:
    return HistGradientBoostingClassifier(max_iter=20, random_state=3).fit(*trained())


def put(models: Path, version: str, estimator: Any) -> Path:
    return stored(models, "churn", version, estimator, FEATURES, output="probability", example=[1, 100.0, 3])


def scored(version: str, **options: Any) -> dict[str, Any]:
    return {"score": {"model": "churn", "version": version, "into": "churn_score"}, "lookback": "0s", **options}


async def insert(world: World, first: int, last: int) -> None:
    await world.source.execute(ROWS.format(table=world.table, first=first, last=last, now=NOW))


async def running(world: World) -> None:
    await world.migrate()
    for name, module in (("extract", EXTRACTOR), ("load", LOADER)):
        await world.services.add(name, module, "run").start()


async def expected(world: World, artifact: Path, *, refused: Callable[[Mapping[str, Any]], bool]) -> dict[int, float]:
    """The score of each row that is not refused, by the artifact itself and the source's own values."""
    rows = [row for row in await world.source.fetch(f"SELECT * FROM {world.table}") if not refused(row)]
    matrix = np.array([[np.nan if row[name] is None else float(row[name]) for name in FEATURES] for row in rows])
    scores = joblib.load(artifact).predict_proba(matrix)[:, 1]
    return dict(zip((row["id"] for row in rows), scores, strict=True))


async def scores(world: World) -> dict[int, float]:
    world.services.check()
    try:
        return dict(await world.app.fetch(f"SELECT id, churn_score FROM {world.target}"))
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        return {}


async def agree(world: World, wanted: Mapping[int, float], *, kept: Mapping[int, float] | None = None) -> bool:
    found = await scores(world)
    everything = {**wanted, **(kept or {})}
    return found.keys() == everything.keys() and all(
        value is not None and abs(found[number] - value) < 1e-9 for number, value in everything.items()
    )


async def waiting(world: World) -> dict[int, str]:
    """The ids of rows in quarantine, with their reasons, as the command lists them."""
    answer = await world.operate("quarantine", "list", "-p", world.name, "-n", "1000", "--json")
    assert answer.code in (0, 1), answer
    rows = json.loads(answer.out)["rows"]
    return {int(json.loads(row["key"])["key"][0][1]): row["reason"] for row in rows}


async def waits(world: World, *wanted: int) -> bool:
    return set(await waiting(world)) == set(wanted)


async def reason(world: World, *parts: str) -> bool:
    world.services.check()
    said = (await world.status())["pipelines"][world.name]["reason"] or ""
    return all(part in said for part in parts)


def refuses(row: Mapping[str, Any]) -> bool:
    return row["plan"] == 7 or row["seats"] is None


@pytest.mark.timeout(900)
async def test_scores_are_those_of_the_model_and_refused_rows_wait_until_a_new_version_takes_them(
    local_stack: ThreadedStack, tmp_path: Path
) -> None:
    first = put(tmp_path, "1", strict())
    async with opened(local_stack, columns=COLUMNS, pipeline=scored("1"), models={"path": str(tmp_path)}) as world:
        await insert(world, 1, COUNT)
        await running(world)
        wanted = await expected(world, first / "model.joblib", refused=refuses)
        assert len(wanted) == COUNT - len(PLAN | SEATS)
        await eventually("every good row is scored", partial(agree, world, wanted))

        found = await waiting(world)
        assert found.keys() == PLAN | SEATS
        for number, said in found.items():
            if number in SEATS:
                assert said == "feature seats has no value (NULL or NaN), and the model takes none that is missing"
            else:
                assert said.startswith("the model refuses the row: ValueError: Found unknown categories ["), said
                assert "7" not in said, "no value of the row"
        listing = await world.operate("quarantine", "list", "-p", world.name)
        assert "Found unknown categories" in listing.out, listing
        assert await reason(world, f"{len(PLAN | SEATS)} rows are withheld", "qupersync quarantine list")

        # A good row becomes a bad one: the target keeps what it had. New rows of both kinds come, a bad one is mended.
        mended, spoiled = min(PLAN - SEATS), 5
        await world.source.execute(f"UPDATE {world.table} SET plan = 7, updated_at = {NOW} WHERE id = {spoiled}")
        await world.source.execute(f"UPDATE {world.table} SET plan = 2, updated_at = {NOW} WHERE id = {mended}")
        await insert(world, COUNT + 1, COUNT + 300)
        bad = {n for n in range(1, COUNT + 301) if n % 97 == 0 or n % 89 == 0} - {mended} | {spoiled}
        kept = {spoiled: wanted[spoiled]}
        wanted = await expected(world, first / "model.joblib", refused=refuses)
        await eventually("the change is scored", partial(agree, world, wanted, kept=kept))
        await eventually("the bad ones wait", partial(waits, world, *bad))

        answer = await world.operate("quarantine", "redrive", "--all", "--wait", "90")
        assert answer.code == 1, answer
        assert f"0 left the quarantine, {len(bad)} were refused again" in answer.out, answer

        before = (await world.standing()).snapshot
        second = put(tmp_path, "2", lenient())
        edit(world, lambda tree: tree["pipelines"][world.name]["score"].update({"version": "2"}))
        wanted = await expected(world, second / "model.joblib", refused=lambda _: False)
        assert len(wanted) == COUNT + 300
        await eventually("the new version's scores stand in every row", partial(agree, world, wanted))
        await world.wait_for_snapshot(before)
        await eventually("nobody waits", partial(waits, world))
        await world.assert_gap_free()


@pytest.mark.timeout(900)
async def test_a_model_that_cannot_be_opened_is_waited_for_and_a_poisoned_one_is_never_opened(
    local_stack: ThreadedStack, tmp_path: Path
) -> None:
    models, canary = tmp_path / "models", tmp_path / "sings"
    place = put(models, "1", strict())
    artifact = place / "model.joblib"
    good = artifact.read_bytes()
    artifact.unlink()
    async with opened(
        local_stack, columns=COLUMNS, pipeline=scored("1", lanes=1), models={"path": str(models)}
    ) as world:
        await insert(world, 1, 60)
        await running(world)
        await eventually("its path is named", partial(reason, world, f"{artifact} is missing"))
        artifact.write_bytes(pickle.dumps(Canary(canary)))
        await eventually("its digest is wrong", partial(reason, world, "and was not opened: its SHA-256 is"))

        class_less = pickle.dumps("not a model")
        artifact.write_bytes(class_less)
        facts = json.loads((place / "metadata.json").read_text())
        (place / "metadata.json").write_text(
            json.dumps(facts | {"sha256": hashlib.sha256(class_less).hexdigest(), "output": "value"})
        )
        await eventually("it is no model", partial(reason, world, "it has no predict"))
        assert await scores(world) == {}
        assert await waiting(world) == {}

        (place / "metadata.json").write_text(json.dumps(facts))
        artifact.write_bytes(good)
        wanted = await expected(world, artifact, refused=refuses)
        await eventually("it goes on by itself", partial(agree, world, wanted))
        assert not canary.exists()


def negative_and_more() -> Any:
    """Its encoder met no plan that a row of ours has: it fails on everything."""
    rows, churned = trained()
    rows[:, 0] += 100
    encoded = make_column_transformer((OneHotEncoder(), [0]), remainder="passthrough")
    return make_pipeline(encoded, LogisticRegression(max_iter=2000)).fit(rows, churned)


@pytest.mark.timeout(900)
async def test_a_model_that_fails_on_everything_quarantines_nothing(local_stack: ThreadedStack, tmp_path: Path) -> None:
    place = stored(tmp_path, "churn", "1", negative_and_more(), FEATURES, output="probability")
    async with opened(
        local_stack, columns=COLUMNS, pipeline=scored("1", lanes=2), models={"path": str(tmp_path)}
    ) as world:
        await insert(world, 1, 300)
        await running(world)
        await eventually(
            "it says so", partial(reason, world, "the model fails on everything", "Found unknown categories")
        )
        assert (await scores(world), await waiting(world)) == ({}, {})
        place = put(tmp_path, "1", strict())
        wanted = await expected(world, place / "model.joblib", refused=refuses)
        await eventually("the mended one is taken up", partial(agree, world, wanted))
        assert set(await waiting(world)) == {97, 194, 291, 89, 178, 267}
