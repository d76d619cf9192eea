"""Makes a target table fit the events of a schema: creates it, adds and widens columns, or says why it may not.

Locks are taken in the order in which events take them: the pipeline's row, then the table.
"""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from qupersync_loader.application.fitting import Refused, Widen, fit
from qupersync_loader.domain.filled import AFTER_ALL, FilledColumns, Place
from qupersync_loader.domain.pipeline import Adopt, DeletePolicy, SchemaPolicy, TargetPipeline
from qupersync_loader.infrastructure.postgres.adoption import compute_slots
from qupersync_loader.infrastructure.postgres.filled import decode_filled, encode_filled
from qupersync_loader.infrastructure.postgres.names import DELETED_AT, SEQUENCE, SLOT, SYNCED_AT, quote, quote_table
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.kernel.errors import SchemaRefusedError, TransientError
from qupersync_shared.runtime.logs import get_logger

DDL_SECONDS: Final = 1800.0
_STATEMENT_CHARACTERS: Final = 1000
_TABLE_KINDS: Final = frozenset({"r", "p"})
_OWN_TYPES: Final = {
    SYNCED_AT: "timestamp with time zone",
    SEQUENCE: "bigint",
    SLOT: "smallint",
    DELETED_AT: "timestamp with time zone",
}

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A column of the table as it is."""

    name: str
    type: str
    not_null: bool
    has_default: bool
    generated: bool
    identity_always: bool
    nondeterministic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The columns that are there, what is to be remembered of them, and the clauses of an ALTER TABLE."""

    columns: dict[str, _Found]
    filled: FilledColumns
    vacant: list[str]
    changes: list[str]


def lock_name(pipeline: TargetPipeline) -> str:
    """What is locked, by its hash, while the target table is made to fit, or exchanged."""
    return f"qupersync target {pipeline.target}"


class TargetTable:
    """The table of one pipeline, inside one transaction that changes nothing else."""

    def __init__(self, driver: asyncpg.Connection, pipeline: TargetPipeline) -> None:
        self._driver = driver
        self._pipeline = pipeline
        self._name = quote_table(pipeline.schema, pipeline.table)

    async def fit(self, schema: RowSchema, at: Place) -> bool:
        """Whether the table, which now fits the event at this place, has `_qs_deleted_at`, of whatever policy.

        SchemaRefusedError, with the cure, if it cannot or may not be made to fit.
        """
        await self._driver.execute(f"SET LOCAL statement_timeout = '{int(DDL_SECONDS * 1000)}'")
        await self._driver.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", lock_name(self._pipeline))
        made = await self._own()
        found = await self._driver.fetchrow(statement("relation"), self._pipeline.schema, self._pipeline.table)
        marks = self._pipeline.deletes is DeletePolicy.SOFT
        if found is None:
            await self._remember(FilledColumns().fitting(schema.names, at=at, present=()))
            await self._create(schema)
            if made:
                await self._forget_watermarks("the target table was missing and is made anew")
        elif found["kind"] not in _TABLE_KINDS:
            raise SchemaRefusedError(f"{self._pipeline.target} is not a table", cure="Name another table in `into`")
        else:
            marks = DELETED_AT in await self._alter(found["oid"], schema, at) or marks
        await self._driver.execute(statement("made"), self._pipeline.group, self._pipeline.name)
        return marks

    # ---------------------------------------------------------------------------------------------- ownership

    async def _own(self) -> bool:
        """Records the pipeline as the owner of its target; whether the table has been there before."""
        pipeline = self._pipeline
        owner = await self._driver.fetchrow(statement("owner"), pipeline.schema, pipeline.table)
        if owner is not None and (owner["group_name"], owner["pipeline"]) != (pipeline.group, pipeline.name):
            raise SchemaRefusedError(
                f"{pipeline.target} belongs to pipeline {owner['pipeline']} of loader group {owner['group_name']}",
                cure="A target table has one owner: name another table in `into`",
            )
        if owner is not None:
            return bool(owner["made"])
        status = await self._driver.execute(
            statement("register"), pipeline.group, pipeline.name, pipeline.schema, pipeline.table
        )
        if status.endswith(" 1"):
            return False
        await self._driver.execute(
            statement("retarget"), pipeline.group, pipeline.name, pipeline.schema, pipeline.table
        )
        await self._forget_watermarks("`into` names another table now")
        return False

    async def _forget_watermarks(self, reason: str) -> None:
        await self._driver.fetchrow(statement("lock_pipeline_exclusive"), self._pipeline.group, self._pipeline.name)
        status = await self._driver.execute(statement("forget_watermarks"), self._pipeline.group, self._pipeline.name)
        if not status.endswith(" 0"):
            _log.warning("watermarks_forgotten", pipeline=self._pipeline.name, reason=reason)

    # ------------------------------------------------------------------------------------------------- making

    async def _create(self, schema: RowSchema) -> None:
        if await self._driver.fetchval("SELECT to_regnamespace(quote_ident($1)) IS NULL", self._pipeline.schema):
            await self._execute(f"CREATE SCHEMA IF NOT EXISTS {quote(self._pipeline.schema)}")
        columns = [f"{quote(c.name)} {_declared(schema, c.name)}" for c in schema.columns]
        columns += [f"{quote(name)} {kind}" for name, kind in self._own_columns(not_null=True)]
        key = ", ".join(quote(name) for name in schema.key)
        await self._execute(f"CREATE TABLE {self._name} ({', '.join(columns)}, PRIMARY KEY ({key}))")
        _log.info("target_table_made", pipeline=self._pipeline.name, table=self._pipeline.target)

    def _own_columns(self, *, not_null: bool) -> list[tuple[str, str]]:
        constraint = " NOT NULL" if not_null else ""
        own = [(name, _OWN_TYPES[name] + constraint) for name in (SYNCED_AT, SEQUENCE, SLOT)]
        if self._pipeline.deletes is DeletePolicy.SOFT:
            own.append((DELETED_AT, _OWN_TYPES[DELETED_AT]))
        return own

    # ----------------------------------------------------------------------------------------------- changing

    async def _alter(self, oid: int, schema: RowSchema, at: Place) -> frozenset[str]:
        """The names of the columns that the table had."""
        wanted = await self._wanted(oid, schema, at)
        foreign = SLOT not in wanted.columns and await self._driver.fetchval(
            f"SELECT EXISTS (SELECT FROM {self._name})"  # noqa: S608  # quoted
        )
        if foreign and self._pipeline.adopt is None:
            raise SchemaRefusedError(
                f"{self._pipeline.target} already has rows that qupersync did not write",
                cure="Write `adopt: keep` (they stay) or `adopt: replace` (snapshots remove what the source lacks), "
                "or empty the table",
            )
        await self._remember(wanted.filled)
        if wanted.changes:
            await self._keep_vacant(wanted.vacant)
            await self._execute(f"ALTER TABLE {self._name} {', '.join(wanted.changes)}")
            _log.info("target_table_changed", pipeline=self._pipeline.name, changes=wanted.changes)
        if foreign and self._pipeline.adopt is Adopt.REPLACE:
            await compute_slots(self._driver, self._pipeline, schema)
        return frozenset(wanted.columns)

    async def would_change(self, oid: int, schema: RowSchema) -> list[str]:
        """The clauses of the ALTER TABLE that `fit` would run now; SchemaRefusedError where it refuses the columns.

        Changes nothing, and says nothing of rows that were there before.
        """
        return (await self._wanted(oid, schema, AFTER_ALL)).changes

    async def _wanted(self, oid: int, schema: RowSchema, at: Place) -> _Wanted:
        """What makes the table fit; SchemaRefusedError where nothing can or may. Changes nothing."""
        columns = {row["name"]: _Found(**dict(row)) for row in await self._driver.fetch(statement("columns"), oid)}
        known = await self._remembered()
        filled = known.fitting(schema.names, at=at, present=_fillable(columns))
        await self._check_key(oid, schema, columns, filled)
        self._check_emptied(columns, known, filled)
        vacant = await self._vacant(schema, columns, known)
        changes = self._changes(schema, columns, vacant)
        if changes:
            self._allow(changes)
        return _Wanted(columns=columns, filled=filled, vacant=vacant, changes=changes)

    async def _check_key(self, oid: int, schema: RowSchema, columns: dict[str, _Found], filled: FilledColumns) -> None:
        missing = [name for name in schema.key if name not in columns]
        if missing:
            cure = "Add it with a unique index over the key, or let qupersync make the table"
            dropped = sorted(filled.gone)
            if len(dropped) == 1:
                renaming = f"RENAME COLUMN {quote(dropped[0])} TO {quote(missing[0])}"
                cure = f"If the source has renamed it: ALTER TABLE {self._name} {renaming}. Else: {cure.lower()}"
            raise SchemaRefusedError(
                f"{self._pipeline.target} has no column {missing[0]!r}, which is part of the key", cure=cure
            )
        blurred = [name for name in schema.key if columns[name].nondeterministic]
        if blurred:
            raise SchemaRefusedError(
                f"key column {blurred[0]!r} of {self._pipeline.target} has a collation that blurs keys",
                cure=f'ALTER TABLE {self._name} ALTER COLUMN {quote(blurred[0])} TYPE text COLLATE "C"',
            )
        unique = [row["columns"] for row in await self._driver.fetch(statement("unique_keys"), oid)]
        if not any(sorted(index) == sorted(schema.key) for index in unique):
            key = ", ".join(quote(name) for name in schema.key)
            other = await self._driver.fetchval(statement("primary_key"), oid)
            instead = "" if other is None else f"DROP CONSTRAINT {quote(other)}, "
            raise SchemaRefusedError(
                f"{self._pipeline.target} has no unique index over the key ({', '.join(schema.key)})",
                cure=f"ALTER TABLE {self._name} {instead}ADD PRIMARY KEY ({key})",
            )

    def _changes(self, schema: RowSchema, columns: dict[str, _Found], vacant: Collection[str]) -> list[str]:
        """The clauses of an ALTER TABLE that make the table fit."""
        changes = []
        for column in schema.columns:
            found = columns.get(column.name)
            if found is None:
                changes.append(f"ADD COLUMN {quote(column.name)} {_declared(schema, column.name)}")
                continue
            if found.generated:
                raise SchemaRefusedError(
                    f"column {column.name!r} of {self._pipeline.target} is generated", cure="Make it an ordinary column"
                )
            if found.identity_always:
                raise SchemaRefusedError(
                    f"column {column.name!r} of {self._pipeline.target} is GENERATED ALWAYS AS IDENTITY: "
                    "PostgreSQL takes no value of the source for it",
                    cure=f"ALTER TABLE {self._name} ALTER COLUMN {quote(column.name)} SET GENERATED BY DEFAULT",
                )
            match fit(found.type, column.type):
                case Widen(to=wider):
                    collation = ' COLLATE "C"' if column.name in schema.key and column.type.is_text else ""
                    changes.append(f"ALTER COLUMN {quote(column.name)} TYPE {wider}{collation}")
                case Refused() if column.name in vacant:
                    kind = column.type.postgres
                    changes.append(f"ALTER COLUMN {quote(column.name)} TYPE {kind} USING NULL::{kind}")
                case Refused():
                    raise self._unlike(found, column)
        return changes + self._own_changes(columns) + self._abandoned(schema, columns)

    def _unlike(self, found: _Found, column: Column) -> SchemaRefusedError:
        name, kind = quote(column.name), column.type.postgres
        return SchemaRefusedError(
            f"column {column.name!r} of {self._pipeline.target} is {found.type}, the source's is {column.type.name}",
            cure=f"Cast it in a query, or ALTER TABLE {self._name} ALTER COLUMN {name} TYPE {kind} USING …, "
            "or rename it there",
        )

    def _own_changes(self, columns: dict[str, _Found]) -> list[str]:
        changes = []
        for name, kind in self._own_columns(not_null=False):
            found = columns.get(name)
            if found is None:
                changes.append(f"ADD COLUMN {quote(name)} {kind}")
            elif found.type != _OWN_TYPES[name]:
                raise SchemaRefusedError(
                    f"column {name!r} of {self._pipeline.target} is {found.type}, not {_OWN_TYPES[name]}",
                    cure="Rename it: the name is reserved",
                )
        return changes

    def _abandoned(self, schema: RowSchema, columns: dict[str, _Found]) -> list[str]:
        """Columns that no event brings (any more) stay, and must take NULL."""
        return [
            f"ALTER COLUMN {quote(column.name)} DROP NOT NULL"
            for column in columns.values()
            if column.name not in schema.names and column.name not in _OWN_TYPES
            if column.not_null and not column.has_default and not column.generated
        ]

    # ------------------------------------------------------------------------------------------------- dropped

    async def _remembered(self) -> FilledColumns:
        found = await self._driver.fetchval(statement("filled"), self._pipeline.group, self._pipeline.name)
        if found is None:  # looked at before anything was loaded
            return FilledColumns()
        return decode_filled(found)

    async def _remember(self, filled: FilledColumns) -> None:
        """Before the table is changed: an event holds the pipeline's row when it comes to the table."""
        names = (self._pipeline.group, self._pipeline.name)
        await self._driver.execute(statement("remember_filled"), *names, encode_filled(filled))

    def _check_emptied(self, columns: dict[str, _Found], known: FilledColumns, filled: FilledColumns) -> None:
        """SchemaRefusedError where a column that the source has dropped cannot or may not be NULL from now on."""
        for name in sorted(filled.gone):
            dropped = f"the source has dropped column {name!r}"
            if columns[name].not_null:
                raise SchemaRefusedError(
                    f"{dropped}, which is NOT NULL in {self._pipeline.target}",
                    cure=f"ALTER TABLE {self._name} ALTER COLUMN {quote(name)} DROP NOT NULL: it stays, and is NULL "
                    f"from then on; or DROP COLUMN {quote(name)}",
                )
            if self._pipeline.schema_policy is SchemaPolicy.FREEZE and name not in known.gone:
                raise SchemaRefusedError(
                    f"{dropped}, and its values in {self._pipeline.target} would be lost",
                    cure=f"`schema: freeze` forbids it: ALTER TABLE {self._name} DROP COLUMN {quote(name)}, or write "
                    "`schema: evolve`, which keeps the column and empties it",
                )

    async def _vacant(self, schema: RowSchema, columns: dict[str, _Found], known: FilledColumns) -> list[str]:
        """Columns that the source dropped before, has again as something else, and that hold nothing any more.

        A lane that has yet to come to the drop may still bring values of the old type.
        """
        other = [
            column.name
            for column in schema.columns
            if column.name in known.gone and column.name not in schema.key and column.name in columns
            if isinstance(fit(columns[column.name].type, column.type), Refused)
        ]
        return [name for name in other if not (await self._is_awaited(known, name) or await self._holds_values(name))]

    async def _is_awaited(self, known: FilledColumns, name: str) -> bool:
        """Whether some lane may bring values from before the drop."""
        gone = known.columns[name].gone
        names = (self._pipeline.group, self._pipeline.name)
        return gone is not None and bool(await self._driver.fetchval(statement("lanes_behind"), *names, *gone))

    async def _keep_vacant(self, names: Sequence[str]) -> None:
        """Nobody writes into these columns until the transaction ends; TransientError where somebody has."""
        if not names:
            return
        await self._execute(f"LOCK TABLE {self._name} IN ACCESS EXCLUSIVE MODE")
        for name in names:
            if await self._holds_values(name):
                raise TransientError(f"column {name!r} of {self._pipeline.target} was written to at this very moment")

    async def _holds_values(self, name: str) -> bool:
        asked = f"SELECT EXISTS (SELECT FROM {self._name} WHERE {quote(name)} IS NOT NULL)"  # noqa: S608  # quoted
        return bool(await self._driver.fetchval(asked, timeout=DDL_SECONDS))

    def _allow(self, changes: Sequence[str]) -> None:
        if self._pipeline.schema_policy is SchemaPolicy.FREEZE:
            raise SchemaRefusedError(
                f"{self._pipeline.target} would need: {'; '.join(changes)}",
                cure="`schema: freeze` forbids it: change the table by hand, or write `schema: evolve`",
            )

    async def _execute(self, sql: str) -> Any:
        try:
            return await self._driver.execute(sql, timeout=DDL_SECONDS)
        except (asyncpg.SyntaxOrAccessError, asyncpg.FeatureNotSupportedError, asyncpg.DataError) as error:
            if isinstance(error, asyncpg.InsufficientPrivilegeError):
                raise
            raise SchemaRefusedError(
                f"{self._pipeline.target} cannot be changed: {error}",
                cure=f"The statement was: {textwrap.shorten(sql, _STATEMENT_CHARACTERS)}",
            ) from error
        except asyncpg.ProgramLimitExceededError as error:
            raise SchemaRefusedError(
                f"{self._pipeline.target} cannot be changed: {error}",
                cure="PostgreSQL takes 1,600 columns, three of them qupersync's, and counts dropped ones until the "
                "table is made anew: choose fewer in a query",
            ) from error
        except asyncpg.ObjectNotInPrerequisiteStateError as error:
            raise SchemaRefusedError(f"{self._pipeline.target} cannot be changed: {error}") from error


def _fillable(columns: Mapping[str, _Found]) -> list[str]:
    """The columns that events can have filled."""
    return [column.name for column in columns.values() if not column.generated]


def _declared(schema: RowSchema, name: str) -> str:
    """The declaration of a column we make: text keys sort as bytes, whatever the database's collation."""
    column = schema.column(name)
    collation = ' COLLATE "C"' if name in schema.key and column.type.is_text else ""
    return column.type.postgres + collation
