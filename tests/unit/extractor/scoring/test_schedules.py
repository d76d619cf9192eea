"""Random schedules of changes, runs and rereads under a model that refuses now these rows, now those.

A replica follows the events as a loader does. However it went: after a snapshot just the refused rows wait in
quarantine, and only they may differ; when the model refuses nothing any more, a snapshot makes replica and source
equal.
"""

import math
import os
import random
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.extractor.application.bench import NAME, Bench, encoded, keys_wanted, naive
from tests.unit.extractor.scoring.fakes import FakeModel, metadata
from tests.unit.extractor.scoring.test_scoring import extractor, withheld

from qupersync_extractor.application.extract import ExtractPipeline
from qupersync_extractor.application.scoring.ports import ModelUnavailableError
from qupersync_extractor.domain.ordering import key_order
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.infrastructure.memory.models import MemoryModels
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.payload import decode
from qupersync_shared.contracts.schema import GONE_COLUMN
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind

SEED = int(os.environ.get("QUPERSYNC_SIMULATION_SEED", "0"))
IDS = 24


class Moody:
    """Scores the id tenfold; refuses some rows, or everything."""

    def __init__(self) -> None:
        self.refused: set[int] = set()
        self.broken = False

    def __call__(self, row: tuple[float, ...]) -> float:
        number = int(row[0])
        if self.broken or (number in self.refused and number % 2 == 0):
            raise ValueError(f"no score for {number}")
        return math.inf if number in self.refused else number * 10.0


class Replica:
    """The target: rows by id, and how far the events were applied."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}
        self.applied = 0

    def follow(self, bench: Bench) -> None:
        for record in bench.records()[self.applied :]:
            self._apply(BatchEnvelope.from_headers(dict(record.headers)), record.payload)
            self.applied += 1

    def content(self) -> dict[int, tuple[Any, Any]]:
        return {number: (row["note"], row["updated_at"]) for number, row in self.rows.items()}

    def _apply(self, envelope: BatchEnvelope, payload: bytes) -> None:
        body = decode(payload)
        rows = {row["id"]: row for row in body.to_pylist()}
        present = rows.keys() | {int(key[0].text) for key in envelope.withheld_keys}
        if envelope.covers_range:
            lane = {number for number in self.rows if self.rows[number]["lane"] == envelope.lane}
            for number in lane - present:
                if _within(number, envelope.range_from, envelope.range_to):
                    del self.rows[number]
        for number, row in rows.items():
            if row.get(GONE_COLUMN):
                self.rows.pop(number, None)
            else:
                self.rows[number] = {
                    "note": row["note"],
                    "updated_at": row["updated_at"],
                    "score": row["score"],
                    "lane": envelope.lane,
                }


def _within(number: int, after: Key | None, upto: Key | None) -> bool:
    key = key_order((Scalar(ScalarKind.INT, str(number)),))
    return (after is None or key > key_order(after)) and (upto is None or key <= key_order(upto))


def _source(bench: Bench) -> dict[int, tuple[Any, Any]]:
    return {row["id"]: (row["note"], row["updated_at"]) for row in bench.table.rows}


def _change(chance: random.Random, bench: Bench, moody: Moody) -> None:
    bench.pass_time(timedelta(seconds=chance.randint(1, 90)))
    for _ in range(chance.randint(0, 6)):
        number = chance.randrange(IDS)
        if chance.random() < 0.2:
            bench.table.delete(lambda row, number=number: row["id"] == number)
        else:
            row = {"id": number, "note": str(chance.random()), "updated_at": naive(bench.source.now)}
            bench.table.upsert(["id"], row)
    if chance.random() < 0.4:
        moody.refused = set(chance.sample(range(IDS), chance.randint(0, IDS // 2)))
        moody.broken = chance.random() < 0.1


async def _waiting(bench: Bench) -> set[str]:
    return {key for key, resolution in (await withheld(bench)).items() if resolution is None}


@pytest.mark.parametrize("seed", range(SEED, SEED + 20))
async def test_what_was_refused_is_settled_and_nothing_is_lost(seed: int) -> None:
    chance = random.Random(seed)
    bench, moody, replica, models = await Bench().registered(), Moody(), Replica(), MemoryModels()
    models.put("double", FakeModel(metadata("id"), moody))
    use_case = extractor(bench, models, page_rows=chance.choice([1, 3, 7, 50]), lookback=timedelta(0))
    for _ in range(40):
        _change(chance, bench, moody)
        await _one_run(chance, bench, use_case, moody, replica)

    moody.broken, moody.refused = False, set()
    for _ in range(2):  # the first may be the end of one that was interrupted
        bench.pass_time(timedelta(minutes=1))
        await use_case.run(forced=ForcedMode.SNAPSHOT)
    replica.follow(bench)
    assert replica.content() == _source(bench), f"seed {seed}"
    assert await _waiting(bench) == set(), f"seed {seed}"


async def _one_run(
    chance: random.Random, bench: Bench, use_case: ExtractPipeline, moody: Moody, replica: Replica
) -> None:
    forced = chance.random() < 0.3
    snapshot = forced and bench.store.pipelines[NAME].state.snapshot is None  # else it is the end of an older one
    try:
        if forced:
            await use_case.run(forced=ForcedMode.SNAPSHOT)
        elif chance.random() < 0.5:
            await bench.rereads.request(keys_wanted(*chance.sample(range(IDS), 4)))
            await use_case.reread()
        else:
            await use_case.run()
    except ModelUnavailableError:
        assert moody.broken or moody.refused, "a model that refuses nothing is whole"
        snapshot = False
    replica.follow(bench)
    waiting = await _waiting(bench)
    assert all(row["score"] == number * 10.0 for number, row in replica.rows.items())
    if snapshot:
        found = replica.content()
        different = {n for n in range(IDS) if found.get(n) != _source(bench).get(n)}
        assert {encoded(number) for number in different} <= waiting
        assert {encoded(number) for number in moody.refused & _source(bench).keys()} == waiting
