"""Comparing source and target: what the extractor's side asks of the loaders of a group, and what one of them answers.

Request and reply on `qupersync.cmd.verify.<group>.<pipeline>`, as JSON. No value of any row travels: keys, counts, sums
of digests, and digests of single columns. A reply is bounded; what did not fit into it is asked for again.
"""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from qupersync_shared.contracts.commands import Command
from qupersync_shared.contracts.row_digests import DigestedColumn, Form
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.ids import GroupName, PipelineName

RANGES_MAX: Final = 64
ROWS_MAX: Final = 5_000
KEYS_MAX: Final = 200
KEY_BYTES_MAX: Final = 200_000
REPLY_BYTES_MAX: Final = 400_000


def verify_subject(group: GroupName, pipeline: PipelineName) -> str:
    """Where the loaders of a group that serve the pipeline listen."""
    return f"qupersync.cmd.verify.{group}.{pipeline}"


class ComparedColumn(Command):
    """A column of the source, and what of it a digest covers."""

    name: str
    type: str
    form: Form

    @field_validator("type")
    @classmethod
    def _type(cls, value: str) -> str:
        return LogicalType.parse(value).name


class StandingWanted(Command):
    """Just how far the group is."""

    kind: Literal["standing"] = "standing"


class RangesWanted(Command):
    """Count and sums of each range: (after, bounds[0]], (bounds[0], bounds[1]], …; encoded keys, None is infinity."""

    kind: Literal["ranges"] = "ranges"
    after: str | None = None
    bounds: tuple[str | None, ...] = Field(min_length=1, max_length=RANGES_MAX)


class RowsWanted(Command):
    """Key and digest of the rows in (after, upto], in the order of their keys, or of just the rows with these keys."""

    kind: Literal["rows"] = "rows"
    after: str | None = None
    upto: str | None = None
    limit: int = Field(default=ROWS_MAX, ge=1, le=ROWS_MAX)
    keys: tuple[str, ...] | None = Field(default=None, max_length=ROWS_MAX)


class ContentsWanted(Command):
    """What stands at these keys, exactly: a digest of every column."""

    kind: Literal["contents"] = "contents"
    keys: tuple[str, ...] = Field(min_length=1, max_length=KEYS_MAX)


Wanted = Annotated[StandingWanted | RangesWanted | RowsWanted | ContentsWanted, Field(discriminator="kind")]


class VerificationRequest(Command):
    """One question about one target table, for the columns of the source as they are now."""

    version: Literal[1] = 1
    group: str
    pipeline: str
    columns: tuple[ComparedColumn, ...]
    key: tuple[str, ...]
    wanted: Wanted

    def schema_of_rows(self) -> RowSchema:
        """The source's columns; ValueError where they make no schema."""
        columns = tuple(Column(column.name, LogicalType.parse(column.type)) for column in self.columns)
        return RowSchema(columns=columns, key=self.key)

    def digested(self) -> tuple[DigestedColumn, ...]:
        return tuple(
            DigestedColumn(column=Column(one.name, LogicalType.parse(one.type)), form=one.form) for one in self.columns
        )


class Standing(Command):
    """How far every lane of the group is; told of a moment before anything else in the reply was looked at.

    `honest_time` None: not all lanes can say that nothing is missing.
    """

    log: int = 0
    sequence: int = 0
    honest_time: datetime | None = None


class RangeSums(Command):
    """Rows of a range, and the sums over their digests' first and next 60 bits, in decimal digits."""

    rows: int
    first: str = "0"
    second: str = "0"


class RowDigestTold(Command):
    """One row: its encoded key and its digest."""

    key: str
    digest: str


class RowContent(Command):
    """What stands at a key: digests of its columns in the request's order (None is NULL), and what wrote it.

    `quarantined`: a version of the row that the target refused waits there.
    """

    key: str
    present: bool
    columns: tuple[str | None, ...] = ()
    sequence: int | None = None
    quarantined: bool = False


class VerificationReply(Command):
    """The answer. Of ranges, rows and contents the first ones may be told alone: `more` says that others follow.

    `refused` says why there is no answer; `passing`: a later one may succeed.
    """

    version: Literal[1] = 1
    standing: Standing = Standing()
    ranges: tuple[RangeSums, ...] = ()
    rows: tuple[RowDigestTold, ...] = ()
    contents: tuple[RowContent, ...] = ()
    more: bool = False
    refused: str | None = None
    cure: str = ""
    passing: bool = False
