"""The portrait of a table: every property beside its rows, piece by piece, so that two of them can be compared."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.names import quote_table
from qupersync_loader.infrastructure.postgres.rebuild.naming import part_name
from qupersync_loader.infrastructure.postgres.sql import statement

_INDEX_CONSTRAINTS: Final = frozenset({"p", "u", "x"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One property. `kind` and `name` tell it from all others of its table; `definition` holds no oid."""

    kind: str
    name: str
    definition: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()

    @property
    def place(self) -> tuple[str, str]:
        return self.kind, self.name

    @property
    def has_index(self) -> bool:
        """Whether the piece has an index of its own, which has a name in the schema."""
        return self.kind == "index" or (self.kind == "constraint" and self.definition["type"] in _INDEX_CONSTRAINTS)


@dataclass(frozen=True, slots=True)
class Portrait:
    """All pieces of one table."""

    pieces: Mapping[tuple[str, str], Piece]

    def of(self, *kinds: str) -> Iterator[Piece]:
        return (piece for piece in self.pieces.values() if piece.kind in kinds)

    def one(self, kind: str, name: str = "") -> Piece | None:
        return self.pieces.get((kind, name))

    def lacking(self, other: "Portrait", kinds: frozenset[str] | None = None) -> list[Piece]:
        """Pieces of this portrait that the other does not have, or has otherwise."""
        return [
            piece
            for place, piece in self.pieces.items()
            if (kinds is None or piece.kind in kinds) and other.pieces.get(place) != piece
        ]


def as_live(shadow_portrait: Portrait, live_portrait: Portrait, shadow: TargetPipeline) -> Portrait:
    """The shadow's portrait with its parts called as those of the live table that they stand for."""
    names: dict[str, str] = {}
    for piece in live_portrait.pieces.values():
        if piece.has_index:
            names[part_name(shadow, "index", piece.name)] = piece.name
        if piece.kind == "statistics":
            schema, name = piece.definition["schema"], piece.definition["name"]
            names[part_name(shadow, "statistics", piece.name)] = name
            names[quote_table(schema, part_name(shadow, "statistics", piece.name))] = piece.name
    pieces = [_translated(piece, names, live_portrait) for piece in shadow_portrait.pieces.values()]
    return Portrait({piece.place: piece for piece in pieces})


def _translated(piece: Piece, names: Mapping[str, str], live: Portrait) -> Piece:
    name, definition = names.get(piece.name, piece.name), dict(piece.definition)
    match piece.kind:
        case "comment":
            definition["name"] = names.get(definition["name"], definition["name"])
            name = f"{definition['on']} {definition['name']}"
        case "cluster" | "replica identity":
            definition["index"] = names.get(definition["index"], definition["index"])
        case "statistics":
            definition["name"] = names.get(definition["name"], definition["name"])
        case "sequence":
            own = live.one("sequence", piece.name)
            definition["name"] = definition["name"] if own is None else own.definition["name"]
    return Piece(kind=piece.kind, name=name, definition=definition)


async def portrait(driver: asyncpg.Connection, oid: int) -> Portrait:
    """The table as the catalogue has it; inside `plain_names`."""
    rows = await driver.fetch(statement("table_portrait"), oid)
    pieces = [Piece(kind=r["kind"], name=r["name"], definition=json.loads(r["definition"])) for r in rows]
    return Portrait({piece.place: piece for piece in pieces})


@asynccontextmanager
async def plain_names(driver: asyncpg.Connection) -> AsyncIterator[None]:
    """Inside, the server spells out every schema, and understands what it has spelt out. Inside a transaction alone."""
    before = await driver.fetchval("SELECT current_setting('search_path')")
    await driver.execute("SELECT set_config('search_path', '', true)")
    yield
    await driver.execute("SELECT set_config('search_path', $1, true)", before)
