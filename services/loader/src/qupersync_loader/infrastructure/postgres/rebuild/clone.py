"""The shadow's table: made in the live one's shape, and brought to have all that it has."""

from typing import Final

import asyncpg

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.names import quote, quote_table
from qupersync_loader.infrastructure.postgres.rebuild.obstacles import relation
from qupersync_loader.infrastructure.postgres.rebuild.parts import LATE_COMMENTS, Parts, literal
from qupersync_loader.infrastructure.postgres.rebuild.portrait import Piece, Portrait, as_live, plain_names, portrait

# What must stand before places are changed, and may take as long as there are rows; in the order in which it is made.
SHAPE: Final = frozenset({"options", "constraint", "index", "statistics"})
# What is of no use to a shadow and would be seen by others: made at the end, in no time.
BELONGINGS: Final = frozenset({"grant", "comment", "publication", "cluster", "replica identity"})
_KEYS: Final = frozenset({"p", "u", "x", "c", "n"})
_ORDER: Final = ("options", "constraint", "index", "statistics", "grant", "cluster", "replica identity", "publication")


async def create(driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline) -> None:
    """An empty table of the live one's shape with what rows are checked by; inside a transaction."""
    async with plain_names(driver):
        seen = await portrait(driver, await relation(driver, live))
        (own,) = seen.of("table")
        definition = own.definition
        unlogged = "UNLOGGED " if definition["persistence"] == "u" else ""
        parts = Parts(shadow)
        await driver.execute(f"SET LOCAL default_tablespace = {literal(definition['tablespace'] or '')}")
        using = "" if definition["method"] is None else f" USING {quote(definition['method'])}"
        await driver.execute(
            f"CREATE {unlogged}TABLE {parts.table} (LIKE {quote_table(live.schema, live.table)} INCLUDING COMPRESSION "
            f"INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING IDENTITY INCLUDING STORAGE){using}"
        )
        # A merge needs no more than rights to the rows; for a swap, an owner whose rights we lack is an obstacle.
        if await driver.fetchval("SELECT $1 <> current_user::text AND pg_has_role($1, 'USAGE')", definition["owner"]):
            await driver.execute(f"ALTER TABLE {parts.table} OWNER TO {quote(definition['owner'])}")
        await _bring(driver, live, shadow, at_first=True)


async def bring_up(driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline) -> bool:
    """Whether something of the live table's shape had to be made on the shadow; inside a transaction."""
    async with plain_names(driver):
        return await _bring(driver, live, shadow, at_first=False)


async def awaiting_validation(driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline) -> list[Piece]:
    """Foreign keys whose rows have yet to be looked at; inside `plain_names`."""
    seen, own = await portraits(driver, live, shadow)
    return [piece for piece in seen.of("constraint") if _awaits_validation(piece, own)]


async def unlike(driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline) -> list[str]:
    """What `bring_up` would have to make or mend; inside `plain_names`."""
    seen, own = await portraits(driver, live, shadow)
    kinds = SHAPE | {"column"}
    return sorted({str(piece) for piece in [*seen.lacking(own, kinds), *own.lacking(seen, kinds)]})


async def portraits(
    driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline
) -> tuple[Portrait, Portrait]:
    """The live table's portrait and the shadow's, whose parts bear the live names in it; inside `plain_names`."""
    seen = await portrait(driver, await relation(driver, live))
    return seen, as_live(await portrait(driver, await relation(driver, shadow)), seen, shadow)


async def hand_over(driver: asyncpg.Connection, seen: Portrait, own: Portrait, shadow: TargetPipeline) -> None:
    """Gives the shadow what takes no time and others would have noticed; inside `plain_names`."""
    parts = Parts(shadow)
    statements = _differences(seen, own, parts, BELONGINGS)
    for piece in seen.of("sequence"):
        mine = own.one("sequence", piece.name)
        if mine is not None and mine != piece:
            # Its own name, which the translated portrait does not have.
            statements += parts.sequence(piece, await _own_sequence(driver, shadow, piece.name))
    for statement in statements:
        await driver.execute(statement)


async def sequence_of(driver: asyncpg.Connection, shadow: TargetPipeline, column: str) -> str:
    """The sequence of an identity column, quoted."""
    piece = await _own_sequence(driver, shadow, column)
    return quote_table(piece.definition["schema"], piece.definition["name"])


async def _own_sequence(driver: asyncpg.Connection, shadow: TargetPipeline, column: str) -> Piece:
    piece = (await portrait(driver, await relation(driver, shadow))).one("sequence", column)
    if piece is None:
        raise RuntimeError(f"column {column!r} of {shadow.target} has no sequence")
    return piece


async def _bring(driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline, *, at_first: bool) -> bool:
    parts = Parts(shadow)
    seen, own = await portraits(driver, live, shadow)
    wanted = _checking(seen) if at_first else seen
    statements = _differences(wanted, _as_validated(wanted, own), parts, SHAPE)
    for statement in statements:
        await driver.execute(statement)
    if statements:  # the constraints of PostgreSQL 18 change columns too
        seen, own = await portraits(driver, live, shadow)
    changes = [
        change
        for piece in seen.lacking(own, frozenset({"column"}))
        for change in parts.column(piece, own.one("column", piece.name))
    ]
    for change in changes:
        await driver.execute(change)
    return bool(statements or changes)


def _differences(seen: Portrait, own: Portrait, parts: Parts, kinds: frozenset[str]) -> list[str]:
    """First everything off that the live table does not have so, then on what it has."""
    here = {place for place in own.pieces if place in seen.pieces}
    off = [
        piece for piece in own.lacking(seen, kinds) if piece.kind != "comment" or (piece.kind, piece.name) not in here
    ]
    on = seen.lacking(own, kinds)
    on = [piece for piece in on if piece.kind != "comment" or piece.definition["on"] not in LATE_COMMENTS]
    statements = [statement for piece in reversed(_ordered(off)) for statement in parts.unmake(piece)]
    return statements + [statement for piece in _ordered(on) for statement in parts.make(piece)]


def _as_validated(seen: Portrait, own: Portrait) -> Portrait:
    """The shadow's portrait with foreign keys that await nothing but validation as if they had had it."""
    valid = {p.place: p for p in seen.of("constraint") if _awaits_validation(p, own)}
    return Portrait({**own.pieces, **valid})


def _awaits_validation(piece: Piece, own: Portrait) -> bool:
    mine = own.one("constraint", piece.name)
    if mine is None or piece.definition["type"] != "f" or not piece.definition["validated"]:
        return False
    unchecked = {**piece.definition, "validated": False, "text": f"{piece.definition['text']} NOT VALID"}
    return dict(mine.definition) == unchecked


def _ordered(pieces: list[Piece]) -> list[Piece]:
    """Foreign keys last of the constraints, comments last of all, for they need what they are on."""

    def place(piece: Piece) -> tuple[int, bool]:
        rank = _ORDER.index(piece.kind) if piece.kind in _ORDER else len(_ORDER)
        return rank, piece.kind == "constraint" and piece.definition["type"] == "f"

    return sorted(pieces, key=place)


def _checking(seen: Portrait) -> Portrait:
    """The pieces that rows are checked by, and options that count from the first row on; the rest is made when all
    rows are there, which is much faster.
    """
    kept = {
        place: piece
        for place, piece in seen.pieces.items()
        if piece.kind not in SHAPE
        or piece.kind == "options"
        or (piece.kind == "constraint" and piece.definition["type"] in _KEYS)
        or (piece.kind == "index" and piece.definition["unique"])
    }
    return Portrait(kept)
