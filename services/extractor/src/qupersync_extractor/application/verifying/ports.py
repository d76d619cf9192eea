"""What a comparison needs from outside: digests that the source's engine computes, and loaders for the target's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from qupersync_extractor.application.ports import KeyRange
from qupersync_extractor.domain.pipeline import Relation
from qupersync_shared.contracts.row_digests import DigestedColumn, Sums
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.verification import VerificationReply, VerificationRequest
from qupersync_shared.kernel.positions import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What is compared: a relation, its columns as they are now, and what of each a digest covers."""

    relation: Relation
    schema: RowSchema
    columns: tuple[DigestedColumn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRange:
    """Some rows that follow each other by key, up to and with `last`."""

    last: Key
    sums: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedDigest:
    """A row's key and digest."""

    key: Key
    digest: str


class SourceDigests(Protocol):
    """Digests of a source's rows, computed where the rows are. Each call is a transaction of its own; rows whose key
    holds a NULL do not exist. Errors are those of `Source`.
    """

    async def opaque(self, compared: Compared) -> frozenset[str]:
        """The columns that the engine cannot write as text: of these it tells only whether there is a value."""
        ...

    async def stretch_end(self, compared: Compared, within: KeyRange, *, rows: int) -> Key | None:
        """The key of the row at this place of the range, counted from 1; None where it has fewer."""
        ...

    async def ranges(self, compared: Compared, within: KeyRange, *, keys: int) -> Sequence[SourceRange]:
        """The range in parts of so many keys, the last one of as many as there are; none where there is no row."""
        ...

    async def rows(self, compared: Compared, within: KeyRange, *, limit: int) -> Sequence[KeyedDigest]:
        """At most `limit` rows of the range in the order of their keys, duplicates of a key too."""
        ...

    @property
    def bytes_moved(self) -> int:
        """About how many bytes the answers so far took."""
        ...


class Loaders(Protocol):
    """The loaders of one group that serve the pipeline."""

    async def ask(self, request: VerificationRequest) -> VerificationReply:
        """The answer of one of them. TransientError, with the cure, where nobody answers."""
        ...

    @property
    def bytes_moved(self) -> int:
        """How many bytes questions and answers took so far."""
        ...
