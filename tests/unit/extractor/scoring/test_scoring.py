"""Scores inside the extractor: a column more on every page, refused rows withheld, a broken model waited for."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from tests.unit.extractor.application.bench import COLUMNS, Bench, encoded, keys_wanted, naive, pipeline
from tests.unit.extractor.scoring.fakes import FakeModel, metadata, never, refusing

from qupersync_extractor.application.extract import ExtractPipeline
from qupersync_extractor.application.quarantine import Resolution
from qupersync_extractor.application.scoring.ports import FeatureSource, ModelUnavailableError
from qupersync_extractor.application.scoring.scoring import Scoring
from qupersync_extractor.domain.pipeline import Score
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.infrastructure.memory.models import MemoryModels
from qupersync_extractor.infrastructure.memory.quarantine import MemoryWithheldRows
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.contracts.payload import decode
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.positions import encode_key

SCORE = Score(model="double", version="1", into="score")
RELATION = RowSchema(columns=COLUMNS, key=("id",))
Rule = Callable[[tuple[float, ...]], float]


def model(score: Rule, *, version: str = "1", digest: str = "ab" * 32) -> FakeModel:
    return FakeModel(replace(metadata("id", version=version), digest=digest), score)


def extractor(
    bench: Bench,
    models: MemoryModels | None,
    *,
    score: Score = SCORE,
    features: FeatureSource | None = None,
    **more: Any,
) -> ExtractPipeline:
    additions = Scoring(pipeline(**more), score, models, features)
    return bench.use_case(additions=additions, **more)


def sent(bench: Bench, *, after: int = 0) -> dict[int, float]:
    """The scores by id, as the last events say them."""
    found: dict[int, float] = {}
    for record in bench.records():
        if record.sequence > after:
            body = decode(record.payload)
            found |= dict(zip(body.column("id").to_pylist(), body.column("score").to_pylist(), strict=True))
    return found


async def withheld(bench: Bench) -> dict[str, Resolution | None]:
    found, _ = await MemoryWithheldRows(bench.store).page(pipelines=(), resolved=True, after=None, limit=99)
    return {row.key: row.resolution for row in found}


async def prepared(score: Rule, *ids: int) -> tuple[Bench, MemoryModels]:
    bench = await Bench().registered()
    bench.insert(*ids)
    models = MemoryModels()
    models.put("double", model(score))
    return bench, models


async def test_every_page_of_every_kind_carries_the_score() -> None:
    bench, models = await prepared(refusing(lambda _: False), *range(1, 11))
    use_case = extractor(bench, models)
    await use_case.run()
    assert sent(bench) == {number: number * 2.0 for number in range(1, 11)}

    before = bench.sequence
    bench.pass_time(timedelta(minutes=1))
    bench.insert(11, 12)
    await use_case.run()
    assert sent(bench, after=before).items() >= {11: 22.0, 12: 24.0}.items()

    before = bench.sequence
    bench.table.delete(lambda row: row["id"] == 5)
    await bench.rereads.request(keys_wanted(4, 5))
    await use_case.reread()
    assert sent(bench, after=before) == {4: 8.0, 5: None}, "one is gone"
    assert {envelope.mode for envelope in bench.envelopes()} == set(Mode)
    assert models.opened == 1, "it is opened once, not for every run"


async def test_rows_that_the_model_refuses_are_withheld_and_settled_when_it_is_mended() -> None:
    bench, models = await prepared(refusing(lambda value: value in {3, 8}), *range(1, 11))
    use_case = extractor(bench, models)
    await use_case.run()
    assert set(sent(bench)) == set(range(1, 11)) - {3, 8}
    assert await withheld(bench) == {encoded(3): None, encoded(8): None}
    listed = {key for envelope in bench.envelopes() for key in envelope.withheld_keys}
    assert {encode_key(key) for key in listed} == {encoded(3), encoded(8)}
    rows, _ = await MemoryWithheldRows(bench.store).page(pipelines=(), resolved=True, after=None, limit=99)
    assert {row.reason for row in rows} == {
        "the model refuses the row: ValueError: found unknown categories […] in column … during transform"
    }

    before = bench.sequence
    await bench.rereads.request(keys_wanted(3))
    await use_case.reread()
    assert sent(bench, after=before) == {}
    assert await withheld(bench) == {encoded(3): None, encoded(8): None}, "refused again"

    # The row changes; another is deleted; the model goes on as it is.
    bench.table.upsert(["id"], {"id": 3, "note": "y", "updated_at": naive(bench.source.now)})
    bench.table.delete(lambda row: row["id"] == 8)
    models.put("double", model(refusing(lambda value: value == 8), version="2"))
    mended = extractor(bench, models, score=replace(SCORE, version="2"))
    before = bench.sequence
    await mended.run()
    assert sent(bench, after=before) == {number: number * 2.0 for number in range(1, 11) if number != 8}
    assert await withheld(bench) == {encoded(3): Resolution.SENT, encoded(8): Resolution.GONE}


@pytest.mark.parametrize("change", ["version", "artifact", "column"])
async def test_another_version_is_answered_with_a_snapshot(change: str) -> None:
    bench, models = await prepared(refusing(lambda _: False), 1, 2, 3)
    await extractor(bench, models).run()
    cursor = bench.store.pipelines[bench.envelopes()[0].pipeline].state.cursor
    before = bench.sequence
    await extractor(bench, models).run()
    assert Mode.SNAPSHOT not in {e.mode for e in bench.envelopes() if e.sequence > before}

    score = SCORE
    if change == "version":
        score = replace(SCORE, version="2")
        models.put("double", model(lambda row: row[0] * 3, version="2"))
    elif change == "artifact":
        models.put("double", model(lambda row: row[0] * 3, digest="cd" * 32))
    else:
        score = replace(SCORE, into="other")
    before = bench.sequence
    await extractor(bench, models, score=score).run()
    assert Mode.SNAPSHOT in {e.mode for e in bench.envelopes() if e.sequence > before}
    assert bench.store.pipelines[bench.envelopes()[0].pipeline].state.cursor == cursor, "the cursor stays what it is"
    if change != "column":
        assert sent(bench, after=before) == {1: 3.0, 2: 6.0, 3: 9.0}


async def test_without_a_score_nothing_is_another_than_before() -> None:
    bench = await Bench().registered()
    bench.insert(1)
    await bench.use_case().run()
    shape = bench.store.pipelines[bench.envelopes()[0].pipeline].state.schema_fingerprint
    assert shape is not None
    assert "+" not in shape


async def test_a_model_that_fails_as_a_whole_stops_the_pipeline_until_it_is_mended_and_nothing_is_lost() -> None:
    bench, models = await prepared(never, *range(1, 8))
    use_case = extractor(bench, models)
    with pytest.raises(ModelUnavailableError, match="double version 1: the model fails on everything"):
        await use_case.run()
    assert (bench.records(), await withheld(bench)) == ([], {})

    models.damage("double", "1", "the artifact is gone")
    with pytest.raises(ModelUnavailableError, match="the artifact is gone"):
        await extractor(bench, models).run()

    models.put("double", model(refusing(lambda _: False), digest="cd" * 32))
    await use_case.run()
    assert sent(bench) == {number: number * 2.0 for number in range(1, 8)}


async def test_a_row_that_was_scored_proves_the_model_whole_when_a_page_holds_only_bad_ones() -> None:
    bench, models = await prepared(refusing(lambda value: value < 100), 500, 501)
    use_case = extractor(bench, models)
    await use_case.run()
    bench.pass_time(timedelta(minutes=1))
    bench.insert(7)
    await use_case.run(forced=ForcedMode.INCREMENTAL)
    assert await withheld(bench) == {encoded(7): None}


class _Tenures:
    def __init__(self) -> None:
        self.asked: list[int] = []

    @property
    def names(self) -> frozenset[str]:
        return frozenset({"tenure", "unused"})

    async def features(self, names: Sequence[str], batch: pa.RecordBatch) -> dict[str, pa.Array]:
        assert names == ("tenure",)
        assert batch.schema.names == ["id", "note", "updated_at"]
        self.asked.append(batch.num_rows)
        ids = batch.column("id").to_pylist()
        return {"tenure": pa.array([None if number == 2 else number * 10 for number in ids], pa.int32())}


async def test_features_of_other_tables_are_fetched_a_page_at_a_time() -> None:
    bench = await Bench().registered()
    bench.insert(1, 2, 3, 4)
    models, tenures = MemoryModels(), _Tenures()
    models.put("double", FakeModel(metadata("tenure", "id")))
    await extractor(bench, models, features=tenures).run()
    assert sent(bench) == {1: 11.0, 3: 33.0, 4: 44.0}
    assert await withheld(bench) == {encoded(2): None}
    assert all(tenures.asked), "a page without rows asks for nothing"


@pytest.mark.parametrize(
    ("into", "said"),
    [("id", "among the key of"), ("note", "among the columns of"), ("_qs_slot", "reserved"), ("synced_at", "reserved")],
)
async def test_a_column_of_the_source_cannot_hold_the_score(into: str, said: str) -> None:
    bench, models = await prepared(refusing(lambda _: False), 1)
    with pytest.raises(ConfigurationError, match=said) as caught:
        await extractor(bench, models, score=replace(SCORE, into=into)).run()
    assert caught.value.place == "pipelines.orders.score.into"


async def test_a_process_without_models_and_a_feature_from_nowhere_say_so() -> None:
    bench, models = await prepared(refusing(lambda _: False), 1)
    with pytest.raises(ModelUnavailableError, match="knows of no models"):
        await extractor(bench, None).run()
    models.put("double", FakeModel(metadata("tenure")))
    with pytest.raises(ConfigurationError, match="needs feature 'tenure'"):
        await extractor(bench, models).run()
    with pytest.raises(ModelUnavailableError, match="no version 9"):
        await extractor(bench, models, score=replace(SCORE, version="9")).run()


async def test_a_score_that_is_no_number_is_a_refusal_and_never_null() -> None:
    bench, models = await prepared(lambda row: math.nan if row[0] == 2 else 1.0, 1, 2, 3)
    await extractor(bench, models).run()
    assert sent(bench) == {1: 1.0, 3: 1.0}
    assert await withheld(bench) == {encoded(2): None}


async def test_a_model_that_answers_nothing_but_nan_fails_as_a_whole_and_withholds_nothing() -> None:
    bench, models = await prepared(lambda _: math.nan, 1, 2, 3)
    with pytest.raises(ModelUnavailableError, match=r"fails on everything.*not a finite number"):
        await extractor(bench, models).run()
    assert await withheld(bench) == {}
    models.put("double", model(lambda row: row[0], digest="cd" * 32))
    await extractor(bench, models).run()
    assert sent(bench) == {1: 1.0, 2: 2.0, 3: 3.0}


async def test_a_restarted_process_keeps_a_paused_pipeline_alive_with_its_score() -> None:
    bench, models = await prepared(lambda row: row[0], 1, 2)
    await extractor(bench, models).run()
    bench.pass_time(timedelta(minutes=1))
    assert await extractor(bench, models).keep_alive(describe=True)
    assert len({event.schema_fingerprint for event in bench.envelopes()}) == 1
    assert "score" in decode(bench.records()[-1].payload).schema.names
