"""What a pipeline is to the extractor."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from qupersync_shared.kernel.ids import PipelineName


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table or view of the source, by schema and name."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class SourceQuery:
    """A `SELECT` of the operator's, used as a derived table."""

    sql: str

    def __str__(self) -> str:
        return "query"


@dataclass(frozen=True, slots=True)
class SourceEntity:
    """A ready-made entity, by name: its rows are put together from several system views."""

    name: str

    def __str__(self) -> str:
        return f"entity {self.name}"


Relation = SourceTable | SourceQuery | SourceEntity


@dataclass(frozen=True, slots=True)
class Score:
    """A column that a model computes for each row; another version means other values in every row."""

    model: str
    version: str
    into: str


class DeletePolicy(StrEnum):
    """What the loader does with rows that a snapshot range no longer has."""

    APPLY = "apply"
    SOFT = "soft"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The definition of one pipeline. `lookback` is for temporal cursors, `lookback_units` for integer ones."""

    name: PipelineName
    relation: Relation
    key: tuple[str, ...]
    cursor: str | None
    cursor_time_zone: str = "UTC"
    lookback: timedelta
    lookback_units: int = 0
    safety_lag: timedelta
    page_rows: int
    lanes: int
    snapshot_every: timedelta | None
    deletes: DeletePolicy = DeletePolicy.APPLY
    entity: str | None = None
    score: Score | None = None

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError("a pipeline needs a key")
        if self.lanes < 1 or self.page_rows < 1:
            raise ValueError("lanes and page_rows are at least 1")
        if self.lookback < timedelta(0) or self.safety_lag < timedelta(0):
            raise ValueError("lookback and safety lag are not negative")
