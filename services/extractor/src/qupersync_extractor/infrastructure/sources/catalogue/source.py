"""Redshift with its ready-made entities: tables and queries are the wrapped source's, entities are joined here."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from qupersync_extractor.application.entities import entity_columns
from qupersync_extractor.application.node_types import NodeTypes
from qupersync_extractor.application.ports import ReadRequest, Source, SourceClock
from qupersync_extractor.application.refused import with_refusals, without_refusals
from qupersync_extractor.application.remembering import Remembered
from qupersync_extractor.domain.catalogue import ENTITY_CLASSES
from qupersync_extractor.domain.pipeline import Relation, SourceEntity
from qupersync_extractor.infrastructure.sources.catalogue.node_details import NodeDetailsRecipe
from qupersync_extractor.infrastructure.sources.catalogue.query_history import QueryHistoryRecipe
from qupersync_extractor.infrastructure.sources.catalogue.recipe import NotApplicable, Recipe, Statements
from qupersync_extractor.infrastructure.sources.catalogue.serverless_usage import ServerlessUsageRecipe
from qupersync_extractor.infrastructure.sources.catalogue.statements import Right, see_all
from qupersync_extractor.infrastructure.sources.catalogue.table_stats import TableStatsRecipe
from qupersync_extractor.infrastructure.sources.catalogue.vacuum_history import VacuumHistoryRecipe
from qupersync_extractor.infrastructure.sources.catalogue.views import Sight, SystemViews
from qupersync_extractor.infrastructure.sources.redshift_errors import MissingRelationError, MissingRightError
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.positions import Scalar
from qupersync_shared.runtime.logs import get_logger

_log = get_logger(__name__)


class ViewState(StrEnum):
    """How a view stands to a user who needs it."""

    READABLE = "readable"
    OWN_ROWS = "own rows"
    UNCERTAIN = "uncertain"
    DENIED = "denied"
    ABSENT = "absent"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewStanding:
    """One view that an entity needs (or the entity, where it is not applicable), and what would mend it."""

    view: str
    state: ViewState
    message: str
    cure: str = ""


class CatalogueSource:
    """The port `Source`: tables and queries of `source`, and the entities that its system views tell of.

    An entity that this kind of cluster does not have is described and has no rows. A view that may not be read is a
    TransientError with the statement to run. `place` tells clusters apart in what is remembered.
    """

    def __init__(
        self,
        source: Source,
        *,
        user: str,
        place: str,
        remembered: Remembered | None = None,
        node_types: NodeTypes | None = None,
    ) -> None:
        self._source = source
        self._views = SystemViews(source, user=user)
        recipes: Sequence[Recipe] = (
            TableStatsRecipe(remembered, place=place),
            QueryHistoryRecipe(remembered, place=place),
            VacuumHistoryRecipe(),
            NodeDetailsRecipe(node_types),
            ServerlessUsageRecipe(),
        )
        self._recipes: Mapping[str, Recipe] = {recipe.name: recipe for recipe in recipes}
        self._said: set[str] = set()

    async def describe(self, relation: Relation) -> tuple[Column, ...]:
        if not isinstance(relation, SourceEntity):
            return await self._source.describe(relation)
        return entity_columns(ENTITY_CLASSES[self._recipe(relation).name])

    async def clock(self) -> SourceClock:
        return await self._source.clock()

    async def highest(self, relation: Relation, column: Column) -> Scalar | None:
        if not isinstance(relation, SourceEntity):
            return await self._source.highest(relation, column)
        known = await self._statements(relation, [column.name])
        if known is None:
            return None
        with self._views.named(known.first):
            return await self._source.highest(known.first.relation, column)

    async def count_nulls(self, relation: Relation, columns: Sequence[str]) -> dict[str, int]:
        if not isinstance(relation, SourceEntity):
            return await self._source.count_nulls(relation, columns)
        known = await self._statements(relation, columns)
        if known is None:
            return dict.fromkeys(columns, 0)
        with self._views.named(known.first):
            return await self._source.count_nulls(known.first.relation, columns)

    async def count_duplicate_keys(self, relation: Relation, key: Sequence[str]) -> int:
        if not isinstance(relation, SourceEntity):
            return await self._source.count_duplicate_keys(relation, key)
        known = await self._statements(relation, key)
        if known is None:
            return 0
        with self._views.named(known.first):
            return await self._source.count_duplicate_keys(known.first.relation, key)

    async def read(self, request: ReadRequest) -> pa.RecordBatch:
        if not isinstance(request.relation, SourceEntity):
            return await self._source.read(request)
        known = await self._statements(request.relation, _read_by(request))
        page = None if known is None else await self._views.page(known.first, request)
        if page is None or page.num_rows == 0:
            return pa.RecordBatch.from_pylist([], schema=request.schema.arrow())
        page, refused = without_refusals(page)
        columns = dict(zip(page.schema.names, page.columns, strict=True))
        columns.update(await self._recipe(request.relation).complete(page, self._views))
        batch = await asyncio.to_thread(_shaped, columns, request.schema, request.relation)
        reasons = {} if refused is None else _of_columns(refused, page.schema.names, request.schema)
        return with_refusals(batch, reasons)

    async def close(self) -> None:
        await self._source.close()

    async def standings(self, entity: SourceEntity) -> list[ViewStanding]:
        """How each view that this entity needs stands to the user; errors of the connection are raised."""
        known = await self._recipe(entity).statements(self._views)
        if isinstance(known, NotApplicable):
            return [ViewStanding(view=entity.name, state=ViewState.NOT_APPLICABLE, message=known.reason)]
        found: dict[str, ViewStanding] = {}
        for wanted in (known.first, *known.further):
            name = wanted.view.name
            try:
                await self._views.probe(wanted)
            except MissingRightError as error:
                found[name] = ViewStanding(view=name, state=ViewState.DENIED, message=error.message, cure=error.cure)
            except MissingRelationError as error:
                found[name] = ViewStanding(view=name, state=ViewState.ABSENT, message=error.message, cure=error.cure)
            else:
                found[name] = await self._seen(name, wanted.view.right)
        return list(found.values())

    async def _seen(self, name: str, right: Right) -> ViewStanding:
        user = self._views.user
        sight = await self._views.sight() if right is Right.SYSLOG else Sight.ALL
        if sight is Sight.ALL:
            return ViewStanding(view=name, state=ViewState.READABLE, message=f"{name} is readable")
        state, message = (
            (ViewState.OWN_ROWS, f"{name} shows user {user} only what {user} did")
            if sight is Sight.OWN
            else (ViewState.UNCERTAIN, f"{name} is readable, and nothing tells whether all of its rows are shown")
        )
        return ViewStanding(view=name, state=state, message=message, cure=f"Run {see_all(user)}")

    def _recipe(self, entity: SourceEntity) -> Recipe:
        recipe = self._recipes.get(entity.name)
        if recipe is None:
            raise TerminalError(
                f"there is no ready-made {entity.name!r} over system views",
                cure=f"Write one of {', '.join(self._recipes)}",
            )
        return recipe

    async def _statements(self, entity: SourceEntity, needed: Sequence[str]) -> Statements | None:
        """What is read for it, whose first statement has the columns `needed`; None where it is not applicable."""
        known = await self._recipe(entity).statements(self._views)
        if isinstance(known, NotApplicable):
            if entity.name not in self._said:
                _log.info("entity_not_applicable", entity=entity.name, reason=known.reason)
            self._said.add(entity.name)
            return None
        self._said.discard(entity.name)
        paged = [column.name for column in known.first.columns]
        for name in needed:
            if name not in paged:
                raise TerminalError(
                    f"column {name!r} of {entity} is looked up after a page was read: nothing can be read by it",
                    cure=f"Let key and cursor be among {', '.join(paged)}",
                )
        return known


def _read_by(request: ReadRequest) -> list[str]:
    cursor = getattr(request.range, "cursor", None)
    return [*request.schema.key, *([] if cursor is None else [cursor])]


def _of_columns(refused: pa.Array, read: Sequence[str], schema: RowSchema) -> dict[int, str]:
    """The reasons of rows with a refused value in a column of the schema.

    A value that was read for the sake of others alone is no part of the row: query texts are cut within a character.
    """
    helpers = tuple(f"column {name!r} " for name in read if name not in schema.names)
    return {
        index: reason
        for index, reason in enumerate(refused.to_pylist())
        if reason is not None and not reason.startswith(helpers)
    }


def _shaped(columns: Mapping[str, pa.Array], schema: RowSchema, entity: SourceEntity) -> pa.RecordBatch:
    """The columns of the schema, in its order and types."""
    wanted = schema.arrow()
    absent = [name for name in wanted.names if name not in columns]
    if absent:
        raise TerminalError(f"{entity} has no column {absent[0]!r}", cure="Its columns are in docs/catalogue.md")
    arrays = [columns[field.name].cast(field.type) for field in wanted]
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)
