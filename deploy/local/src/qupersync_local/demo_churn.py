"""The demo's churn model: trained on the warehouse, put into a registry, and computed once more in the end."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from qupersync_local.compare_sides import DuckDbSide, OpenSide

MODEL: Final = "churn_model"
VERSION: Final = "1"
INTO: Final = "churn_score"
FEATURES: Final = (
    "tenure_days",
    "mrr",
    "plan_tier_rank",
    "events_last_30_days",
    "events_last_90_days",
    "mean_feature_adoption_90_days",
    "days_since_last_event",
)
MISSING: Final = "no churn score: scikit-learn is not installed (pip install 'qupersync-extractor[scoring]')"
_ARTIFACT: Final = "model.joblib"
_DECIMALS: Final = 12  # as many as docs/scoring.md promises of a probability


def can_score() -> bool:
    """Whether what trains and opens models is installed."""
    return find_spec("sklearn") is not None and find_spec("joblib") is not None


async def train(warehouse: Path, models: Path, *, seed: int) -> int:
    """Train on all customers, with the features that scoring will use; how many there were."""
    import pyarrow as pa

    from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
    from qupersync_extractor.infrastructure.warehouse.features import WarehouseFeatures

    file = DuckDbFile(warehouse)
    ids, left = await asyncio.to_thread(_labelled, file)
    batch = pa.record_batch({"customer_id": pa.array(ids, pa.string())})
    columns = await WarehouseFeatures(file).features(FEATURES, batch)
    await asyncio.to_thread(_train, [columns[name].to_pylist() for name in FEATURES], left, models, seed)
    return len(ids)


def _labelled(file: Any) -> tuple[list[str], list[int]]:
    with file.reading("raw.customers") as connection:
        rows = connection.execute(
            "SELECT customer_id, churn_date IS NOT NULL FROM raw.customers ORDER BY ALL"
        ).fetchall()
    return [row[0] for row in rows], [int(row[1]) for row in rows]


def _train(columns: list[list[float | None]], left: list[int], models: Path, seed: int) -> None:
    import joblib
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(max_iter=40, min_samples_leaf=5, random_state=seed)
    model.fit(np.array(columns, np.float64).T, left)
    place = models / MODEL / VERSION
    place.mkdir(parents=True)
    joblib.dump(model, place / _ARTIFACT)
    metadata = {
        "version": VERSION,
        "artifact": _ARTIFACT,
        "sha256": hashlib.sha256((place / _ARTIFACT).read_bytes()).hexdigest(),
        "features": list(FEATURES),
        "output": "probability",
        "framework": "scikit-learn",
        "framework_version": version("scikit-learn"),
        "created_at": datetime.now(UTC).isoformat(),
    }
    (place / "metadata.json").write_text(json.dumps(metadata, indent=2), encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredCustomers:
    """The customers of a file that nobody writes to, with the scores that they should have in the target."""

    warehouse: Path
    models: Path

    @asynccontextmanager
    async def opened(self, key: Sequence[str]) -> AsyncIterator[OpenSide]:
        scores = self.models / "expected_scores.parquet"
        await asyncio.to_thread(self._compute, scores)
        place = str(scores).replace("'", "''")
        query = f"SELECT c.*, s.{INTO} FROM raw.customers AS c JOIN read_parquet('{place}') AS s USING (customer_id)"  # noqa: S608
        async with DuckDbSide(path=self.warehouse, query=query).opened(key) as side:
            yield side

    def _compute(self, scores: Path) -> None:
        """Not by the extractor's code: features in SQL of the demo's own, the model straight from its artifact."""
        import duckdb
        import joblib
        import numpy as np
        import pyarrow as pa
        from pyarrow import parquet

        sql = (files(__package__) / "demo_sql" / "churn_features.sql").read_text("utf-8")
        with duckdb.connect(str(self.warehouse), read_only=True) as connection:
            rows = connection.execute(sql).fetchall()
        matrix = np.array(
            [[np.nan if value is None else float(value) for value in row[1:]] for row in rows], np.float64
        )
        model = joblib.load(self.models / MODEL / VERSION / _ARTIFACT)
        found = np.round(model.predict_proba(matrix)[:, 1], _DECIMALS)
        parquet.write_table(
            pa.table({"customer_id": pa.array([row[0] for row in rows], pa.string()), INTO: pa.array(found)}), scores
        )
