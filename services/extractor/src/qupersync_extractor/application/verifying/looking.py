"""Looks at single keys on both sides, exactly: digests of every column of the rows themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from qupersync_extractor.application.key_lists import fitted
from qupersync_extractor.application.pages import read_rows, reduce_duplicates
from qupersync_extractor.application.ports import KeyList, ReadRequest, Source
from qupersync_extractor.application.verifying.ports import Compared
from qupersync_extractor.application.verifying.target import TargetSide
from qupersync_shared.contracts.row_digests import exact_digest, exact_texts
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.verification import RowContent
from qupersync_shared.kernel.positions import Key, encode_key

AT_ONCE: Final = 200
_DUPLICATES_MAX: Final = 100  # of a key; beyond that the source holds no table any more

Digests = tuple[str | None, ...]


class Kind(StrEnum):
    """How the two sides differ at a key."""

    MISSING = "missing in the target"
    EXTRA = "only in the target"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One key, and the names of the columns that differ."""

    key: Key
    kind: Kind
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Both sides of one key: the source before `at`, by its own clock; the target, which was as far as `honest_time`
    before. `refused`: the source's row holds what no event can carry. `keeps`: a row may outlive its source.
    """

    key: Key
    at: datetime
    source: Digests | None
    target: RowContent
    honest_time: datetime | None
    refused: bool = False
    keeps: bool = False

    @property
    def equal(self) -> bool:
        """Whether both have the same row, or none, or the target's is as it should be."""
        if self.keeps and self.source is None:
            return True
        return self.source == (self.target.columns if self.target.present else None)

    def stands_as(self, earlier: "Look") -> bool:
        """Whether neither side was seen to move since: a row that was written in between is another one."""
        return (
            self.source == earlier.source
            and self.target.present == earlier.target.present
            and self.target.columns == earlier.target.columns
            and self.target.sequence == earlier.target.sequence
        )

    def difference(self, names: Sequence[str]) -> Difference:
        if self.source is None:
            return Difference(key=self.key, kind=Kind.EXTRA)
        if not self.target.present:
            return Difference(key=self.key, kind=Kind.MISSING)
        pairs = zip(names, self.source, self.target.columns, strict=True)
        return Difference(
            key=self.key,
            kind=Kind.DIFFERENT,
            columns=tuple(name for name, one, other in pairs if one != other),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """Reads rows of both sides by their keys. `without_nul`: the owner has NUL bytes taken out of texts. `keeps`: rows
    stay in the target when their source has gone.
    """

    source: Source
    target: TargetSide
    compared: Compared
    cursor: str | None
    without_nul: bool = False
    keeps: bool = False

    async def look(self, keys: Sequence[Key]) -> list[Look]:
        """Every key, in order; the source is read before the target is asked."""
        found: list[Look] = []
        for start in range(0, len(keys), AT_ONCE):
            found += await self._look(keys[start : start + AT_ONCE])
        return found

    async def _look(self, keys: Sequence[Key]) -> list[Look]:
        ours, refused = await self._source(keys)
        at = (await self.source.clock()).now  # not before the read: what it saw may have been committed just then
        contents, standing = await self.target.contents(keys)
        theirs = {content.key: content for content in contents}
        return [
            Look(
                key=key,
                at=at,
                source=ours.get(key),
                target=theirs[encode_key(key)],
                honest_time=None if standing is None else standing.honest_time,
                refused=key in refused,
                keeps=self.keeps,
            )
            for key in keys
        ]

    async def _source(self, keys: Sequence[Key]) -> tuple[Mapping[Key, Digests], frozenset[Key]]:
        schema = self.compared.schema
        fitting = tuple(key for key in keys if _fits(key, schema))
        batch = await self.source.read(
            ReadRequest(
                relation=self.compared.relation,
                schema=schema,
                range=KeyList(keys=fitting),
                limit=len(keys) * _DUPLICATES_MAX,
            )
        )
        rows = reduce_duplicates(read_rows(batch, schema), cursor=self.cursor)
        columns = [
            [
                exact_digest(text, one, without_nul=self.without_nul)
                for text in exact_texts(rows.batch.column(one.column.name), one.column.type)
            ]
            for one in self.compared.columns
        ]
        found = [rows.key(index) for index in range(rows.count)]
        flags = [False] * rows.count if rows.refused is None else rows.refused.is_valid().to_pylist()
        refused = frozenset(key for key, flag in zip(found, flags, strict=True) if flag)
        return {key: tuple(column[index] for column in columns) for index, key in enumerate(found)}, refused


def _fits(key: Key, schema: RowSchema) -> bool:
    """Whether the source could have the key: somebody may have written another into the target."""
    try:
        return fitted(key, schema) == key
    except ValueError:
        return False
