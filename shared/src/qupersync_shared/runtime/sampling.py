"""A few rows for people: what a service that can read a side of a pipeline answers to `qupersync sample`."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from qupersync_shared.runtime.settings import Configuration

SAMPLE_ROWS_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows of one side, the same each time while the data are the same.

    `columns` are names and types in order; `rows` hold values by column as JSON can: exact numbers, moments and bytes
    as text. `derived` names further entries of the rows that are computed, not stored.
    """

    relation: str
    key: Sequence[str]
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Mapping[str, Any]]
    derived: Sequence[str] = ()


TakeSample = Callable[["Configuration", str, int], Coroutine[Any, Any, Sample]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """What a plugin can sample: its side (`source` or `target`), and how: configuration, pipeline, number of rows."""

    side: str
    take: TakeSample
