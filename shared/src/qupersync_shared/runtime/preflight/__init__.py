"""What a look before the first run is made of: bounds, and what the source's side tells the target's."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.runtime.settings import Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much one probe may look at: `rows_max` rows counted by the engine (None: all), `sample_rows` fetched."""

    rows_max: int | None
    sample_rows: int
    seconds_max: float

    @property
    def full(self) -> bool:
        return self.rows_max is None


ORDINARY: Final = Bounds(rows_max=1_000_000, sample_rows=1000, seconds_max=20.0)
AT_START: Final = Bounds(rows_max=10_000, sample_rows=0, seconds_max=5.0)
FULL: Final = Bounds(rows_max=None, sample_rows=20_000, seconds_max=3600.0)


class SchemaBoard:
    """Where the source's side tells which columns a pipeline's rows have; a closed board answers at once, with None."""

    def __init__(self, *, closed: bool = False) -> None:
        self._schemas: dict[str, RowSchema] = {}
        self._told: dict[str, asyncio.Event] = {}
        self._closed = closed

    def tell(self, pipeline: str, schema: RowSchema | None) -> None:
        """What is known of this pipeline; None: its columns cannot be known."""
        if schema is not None:
            self._schemas[pipeline] = schema
        self._told.setdefault(pipeline, asyncio.Event()).set()

    def close(self) -> None:
        """Nothing more will be told: nobody waits any longer."""
        self._closed = True
        for told in self._told.values():
            told.set()

    async def schema(self, pipeline: str, *, seconds: float) -> RowSchema | None:
        """The columns, once they are told; None after so many seconds, or where they cannot be known."""
        told = self._told.setdefault(pipeline, asyncio.Event())
        if not self._closed:
            try:
                async with asyncio.timeout(seconds):
                    await told.wait()
            except TimeoutError:
                return None
        return self._schemas.get(pipeline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """One look: the configuration, narrowed to the pipelines that are asked about, and how far to look."""

    configuration: Configuration
    bounds: Bounds = ORDINARY
    schemas: SchemaBoard = field(default_factory=lambda: SchemaBoard(closed=True))
