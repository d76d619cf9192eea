"""`qupersync demo --source duckdb`: a warehouse in a file, whose customers are scored by a model on their way."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from qupersync_local.compare_sides import DuckDbSide, Side
from qupersync_local.demo_churn import INTO, MISSING, MODEL, VERSION, ScoredCustomers, can_score, train
from qupersync_local.demo_customers import People
from qupersync_local.demo_data import Changes
from qupersync_local.demo_report import console
from qupersync_local.demo_warehouse import WarehouseChurn, customers_of, make_warehouse, people_of

_STEP_PAUSE_SECONDS: Final = 0.3
# Customers have no cursor: each of their runs is a snapshot.
_CUSTOMERS: Final = {"entity": "customers", "lanes": 4, "schedule": {"every": "3s"}}
_USAGE_EVENTS: Final = {
    "entity": "usage_events",
    "lanes": 4,
    "schedule": "continuous",
    "safety_lag": "1s",
    "lookback": "6s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DuckDbDemo:
    """A DuckDB file: it can be written only while nobody reads it, so changes come between the runs."""

    directory: Path
    size: int
    seed: int
    until: datetime
    scored: bool

    @classmethod
    def of(cls, directory: Path, *, size: int, seed: int) -> "DuckDbDemo":
        """What happened until now, below `directory`; with a score where what computes it is installed."""
        until = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        return cls(directory=directory, size=size, seed=seed, until=until, scored=can_score())

    @property
    def _path(self) -> Path:
        return self.directory / "warehouse.duckdb"

    @property
    def _models(self) -> Path:
        return self.directory / "models"

    @property
    def _people(self) -> People:
        return people_of(self.size, until=self.until, seed=self.seed)

    @property
    def pipelines(self) -> dict[str, dict[str, Any]]:
        score = {"score": {"model": MODEL, "version": VERSION, "into": INTO}} if self.scored else {}
        return {"customers": {**_CUSTOMERS, **score}, "usage_events": {**_USAGE_EVENTS}}

    @property
    def sections(self) -> dict[str, Any]:
        models = {"models": {"path": str(self._models)}} if self.scored else {}
        return {"source": {"kind": "duckdb", "path": str(self._path)}, "include": ["warehouse"], **models}

    @property
    def rows(self) -> int:
        return self.size + customers_of(self.size)

    async def fill(self) -> None:
        await make_warehouse(self._path, self._people)
        if not self.scored:
            console().print(MISSING, markup=False, soft_wrap=True)
            return
        trained_on = await train(self._path, self._models, seed=self.seed)
        console().print(f"trained {MODEL} version {VERSION} on {trained_on:,} customers")

    async def change(self, going: Callable[[], bool]) -> Changes:
        churn = WarehouseChurn(self._path, self._people)
        inserted = updated = deleted = 0
        while going():
            done = await churn.step()
            inserted += done.inserted
            updated += done.updated
            deleted += done.deleted
            await asyncio.sleep(_STEP_PAUSE_SECONDS)
        return Changes(inserted=inserted, updated=updated, deleted=deleted)

    def side(self, pipeline: str) -> Side:
        if pipeline == "customers" and self.scored:
            return ScoredCustomers(warehouse=self._path, models=self._models)
        return DuckDbSide(path=self._path, table=f"raw.{pipeline}")
