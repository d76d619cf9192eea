"""Reading system views one by one: what they hold, whether they are there, and which right is missing."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import pyarrow as pa

from qupersync_extractor.application.ports import CursorRange, KeyList, KeyRange, ReadRequest, Source
from qupersync_extractor.application.refused import without_refusals
from qupersync_extractor.infrastructure.sources.catalogue.joining import distinct
from qupersync_extractor.infrastructure.sources.catalogue.statements import (
    BOOLEAN,
    INTEGER,
    STV_SLICES,
    SVV_USER_INFO,
    SYS_QUERY_HISTORY,
    Right,
    Statement,
    see_all,
    statement,
)
from qupersync_extractor.infrastructure.sources.redshift_errors import MissingRelationError, MissingRightError
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import TerminalError, TransientError
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind

ASK_AGAIN_SECONDS: Final = 900.0
ROWS_MAX: Final = (1 << 31) - 1  # LIMIT takes no more
LIST_MAX: Final = 1_024
LISTS_MAX: Final = 64
_NODES: Final = statement(STV_SLICES, "nodes.sql", {"node_id": INTEGER, "slice_count": INTEGER})
_OWN_RIGHTS: Final = statement(SVV_USER_INFO, "own_rights.sql", {"user_id": INTEGER, "sees_all": BOOLEAN})
_USERS_SEEN: Final = statement(
    SYS_QUERY_HISTORY, "users_seen.sql", {"least_user_id": INTEGER, "greatest_user_id": INTEGER}
)


class Sight(StrEnum):
    """How much a user sees of views that show everybody what is their own."""

    ALL = "all"
    OWN = "own"
    UNKNOWN = "unknown"


class SystemViews:
    """The system views of one cluster, through `source`, as `user` sees them; TransientError with the statement to run
    where a right is missing.

    What kind of cluster it is, and what the user may see, is asked again every quarter of an hour.
    """

    def __init__(self, source: Source, *, user: str) -> None:
        self.source = source
        self.user = user
        self._answers: dict[str, tuple[float, bool]] = {}

    async def page(self, wanted: Statement, request: ReadRequest) -> pa.RecordBatch:
        """The rows of this statement that the request asks for, in its order, and which of them are refused."""
        await self.require(wanted)
        return await self._read(wanted, request.schema.key, request.range, request.limit)

    async def matching(self, wanted: Statement, key: str, values: pa.Array) -> pa.Table:
        """The rows of this statement whose `key` (an integer) is among `values`; where those are many, others, too.

        A value that cannot travel is NULL.
        """
        await self.require(wanted)
        once = distinct(values).to_pylist()
        ranges: list[KeyRange | KeyList] = [
            KeyList(keys=tuple(map(_key, once[first : first + LIST_MAX])))
            for first in range(0, max(1, len(once)), LIST_MAX)
        ]
        if len(ranges) > LISTS_MAX:
            ranges = [KeyRange(after=_key(once[0] - 1), upto=_key(once[-1]))]
        batches = [await self._read(wanted, (key,), among, ROWS_MAX) for among in ranges]
        return pa.Table.from_batches([without_refusals(batch)[0] for batch in batches])

    async def has_nodes(self) -> bool:
        """Whether this cluster has STL and STV views: Serverless does not, nor does a Multi-AZ deployment.

        stv_slices shows it: everybody may read it where it is of use, and where it is not, some servers say that it is
        absent, others that nobody may read it.
        """

        async def ask() -> bool:
            try:
                await self.source.describe(_NODES.relation)
            except (MissingRelationError, MissingRightError):
                return False
            return True

        return await self._answer("nodes", ask)

    async def has(self, wanted: Statement) -> bool:
        """Whether the view is there, readable or not."""

        async def ask() -> bool:
            try:
                await self.source.describe(wanted.relation)
            except MissingRelationError:
                return False
            except MissingRightError:
                return True
            return True

        return await self._answer(wanted.view.name, ask)

    async def require(self, wanted: Statement) -> None:
        """TransientError where only the user's own rows of the view would be seen, which is not the view."""

        async def ask() -> bool:
            if await self.sight() is not Sight.OWN:
                return True
            raise TransientError(
                f"{wanted.view} shows user {self.user} only what {self.user} did", cure=f"Run {see_all(self.user)}"
            )

        if wanted.view.right is Right.SYSLOG:
            await self._answer("sight", ask)

    async def sight(self) -> Sight:
        """How much the user sees of other users' doings: by svv_user_info, or because it is plain to see."""
        try:
            found = await self._read(_OWN_RIGHTS, ("user_id",), KeyRange(after=None), 1)
        except (MissingRelationError, MissingRightError, TerminalError):  # not as documented: nothing depends on it
            found = None
        if found is None or found.num_rows == 0:
            return Sight.UNKNOWN
        if found.column("sees_all")[0].as_py():
            return Sight.ALL
        seen = await self._read(_USERS_SEEN, ("least_user_id",), KeyRange(after=None), 1)
        others = {value for column in seen.columns for value in column.to_pylist()} - {
            found.column("user_id")[0].as_py()
        }
        return Sight.ALL if others else Sight.OWN

    async def probe(self, wanted: Statement) -> None:
        """Returns if the statement can be read; the error of `page` if not."""
        with self.named(wanted):
            await self.source.describe(wanted.relation)

    async def _read(
        self, wanted: Statement, key: tuple[str, ...], among: CursorRange | KeyRange | KeyList, limit: int
    ) -> pa.RecordBatch:
        schema = RowSchema(columns=wanted.columns, key=key)
        with self.named(wanted):
            return await self.source.read(
                ReadRequest(relation=wanted.relation, schema=schema, range=among, limit=limit)
            )

    @contextmanager
    def named(self, wanted: Statement) -> Iterator[None]:
        """Says of a missing view or right which one, and what to run."""
        try:
            yield
        except MissingRightError as error:
            raise MissingRightError(
                f"{wanted.view} may not be read by user {self.user}", cure=f"Run {wanted.view.grant(self.user)}"
            ) from error
        except MissingRelationError as error:
            raise MissingRelationError(
                f"there is no {wanted.view} on this cluster",
                cure="It may be too old a Redshift, or no Redshift: leave the pipeline out",
            ) from error

    async def _answer(self, question: str, ask: Callable[[], Awaitable[bool]]) -> bool:
        known = self._answers.get(question)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        answer = await ask()
        self._answers[question] = (time.monotonic() + ASK_AGAIN_SECONDS, answer)
        return answer


def _key(value: int) -> Key:
    return (Scalar(ScalarKind.INT, str(value)),)
