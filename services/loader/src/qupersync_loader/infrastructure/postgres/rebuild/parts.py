"""What makes the pieces of a portrait on another table, and what takes them off again. Pure text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.names import quote, quote_table
from qupersync_loader.infrastructure.postgres.rebuild.naming import part_name
from qupersync_loader.infrastructure.postgres.rebuild.portrait import Piece
from qupersync_shared.kernel.errors import SchemaRefusedError, TransientError

# What these are on is made, or gets its own name, under the live table's name alone.
LATE_COMMENTS: Final = frozenset({"CONSTRAINT", "POLICY", "TRIGGER"})
_KINDS: Final = {"d": "ndistinct", "f": "dependencies", "m": "mcv"}
_IDENTITIES: Final = {"d": "DEFAULT", "n": "NOTHING", "f": "FULL"}
_COMMANDS: Final = {"*": "ALL", "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}
_STORAGE: Final = {"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
_COMPRESSION: Final = {"": "default", "p": "pglz", "l": "lz4"}
_FIRING: Final = {"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
_GIVEN: Final = ("place", "type", "collation", "identity", "generated")


def literal(text: str) -> str:
    """A text as SQL has it."""
    plain = "'" + text.replace("'", "''") + "'"
    return "E" + plain.replace("\\", "\\\\") if "\\" in plain else plain


class Parts:
    """The statements for one shadow. Pieces bear the live table's names; what they are on the shadow has its own."""

    def __init__(self, shadow: TargetPipeline) -> None:
        self._shadow = shadow
        self.table: Final = quote_table(shadow.schema, shadow.table)

    def index(self, live_name: str) -> str:
        """What an index of that name is called on the shadow, quoted."""
        return quote(part_name(self._shadow, "index", live_name))

    def statistics(self, piece: Piece) -> str:
        return quote_table(piece.definition["schema"], part_name(self._shadow, "statistics", piece.name))

    def qualified(self, name: str) -> str:
        """Something in the table's own schema, by a name that is quoted."""
        return f"{quote(self._shadow.schema)}.{name}"

    # ------------------------------------------------------------------------------------------------- making

    def make(self, piece: Piece) -> list[str]:
        match piece.kind:
            case "constraint":
                made = self._constraint(piece)
            case "index":
                made = self._index(piece)
            case "statistics":
                made = self._statistics(piece)
            case "options":
                made = self._options(piece.definition, "SET")
            case "grant":
                made = [self._grant(piece)]
            case "comment":
                made = [self._comment(piece, piece.definition["text"])]
            case "publication":
                made = [self._publication(piece)]
            case "cluster":
                made = [f"ALTER TABLE {self.table} CLUSTER ON {self.index(piece.definition['index'])}"]
            case "replica identity":
                made = [f"ALTER TABLE {self.table} REPLICA IDENTITY {self._identity(piece.definition)}"]
            case _:
                raise _unlike(piece)
        return made

    def unmake(self, piece: Piece) -> list[str]:
        """Takes off what the live table does not have; what is only otherwise there is made anew afterwards."""
        match piece.kind:
            case "constraint":
                drop = f"ALTER TABLE {self.table} DROP CONSTRAINT IF EXISTS"
                gone = [f"{drop} {quote(piece.name)}"]
                gone += [f"{drop} {self.index(piece.name)}"] if piece.has_index else []
            case "index":
                names = (self.index(piece.name), quote(piece.name))
                gone = [f"DROP INDEX IF EXISTS {self.qualified(name)}" for name in names]
            case "statistics":
                gone = [f"DROP STATISTICS IF EXISTS {self.statistics(piece)}"]
            case "options":
                gone = self._options(piece.definition, "RESET")
            case "grant":
                what = self._privilege(piece.definition)
                gone = [f"REVOKE {what} ON {self.table} FROM {piece.definition['grantee']}"]
            case "comment":
                gone = [self._comment(piece, None)]
            case "publication":
                gone = [f"ALTER PUBLICATION {quote(piece.name)} DROP TABLE {self.table}"]
            case "cluster":
                gone = [f"ALTER TABLE {self.table} SET WITHOUT CLUSTER"]
            case "replica identity":
                gone = []
            case _:
                raise _unlike(piece)
        return gone

    def _constraint(self, piece: Piece) -> list[str]:
        text, definition = piece.definition["text"], piece.definition
        add = f"ALTER TABLE {self.table} ADD CONSTRAINT "
        if piece.has_index:
            name = self.index(piece.name)
            set_options = _listed_options(definition["options"])
            return [
                _tablespace(definition["tablespace"]),
                f"{add}{name} {text}",
                *([f"ALTER INDEX {self.qualified(name)} SET ({set_options})"] if set_options else []),
                *self._targets(name, definition["targets"]),
            ]
        name = quote(piece.name)
        # A foreign key's rows are looked at later, in a transaction that keeps no writer off the other table.
        later = " NOT VALID" if definition["type"] == "f" and definition["validated"] else ""
        return [f"{add}{name} {text}{later}"]

    def validate(self, piece: Piece) -> str:
        return f"ALTER TABLE {self.table} VALIDATE CONSTRAINT {quote(piece.name)}"

    def _index(self, piece: Piece) -> list[str]:
        definition = piece.definition
        unique = "UNIQUE " if definition["unique"] else ""
        name = self.index(piece.name)
        return [
            _tablespace(definition["tablespace"]),
            f"CREATE {unique}INDEX {name} ON {self.table} {definition['text']}",
            *self._targets(name, definition["targets"]),
        ]

    def _targets(self, index: str, targets: Mapping[str, int] | None) -> list[str]:
        place = self.qualified(index)
        return [
            f"ALTER INDEX {place} ALTER COLUMN {int(number)} SET STATISTICS {int(target)}"
            for number, target in (targets or {}).items()
        ]

    def _statistics(self, piece: Piece) -> list[str]:
        definition, name = piece.definition, self.statistics(piece)
        kinds = ", ".join(_KINDS[kind] for kind in definition["kinds"] if kind in _KINDS)
        target = definition["target"]
        return [
            f"CREATE STATISTICS {name} {f'({kinds}) ' if kinds else ''}ON {definition['columns']} FROM {self.table}",
            *([f"ALTER STATISTICS {name} SET STATISTICS {int(target)}"] if target is not None else []),
            f"ALTER STATISTICS {name} OWNER TO {quote(definition['owner'])}",
        ]

    def _options(self, definition: Mapping[str, Sequence[str]], how: str) -> list[str]:
        names = [*definition["own"], *(f"toast.{option}" for option in definition["toast"])]
        listed = _listed_options(names) if how == "SET" else ", ".join(name.partition("=")[0] for name in names)
        return [f"ALTER TABLE {self.table} {how} ({listed})"] if listed else []

    def _grant(self, piece: Piece) -> str:
        definition = piece.definition
        option = " WITH GRANT OPTION" if definition["grantable"] else ""
        return f"GRANT {self._privilege(definition)} ON {self.table} TO {definition['grantee']}{option}"

    @staticmethod
    def _privilege(definition: Mapping[str, Any]) -> str:
        column = f" ({quote(definition['column'])})" if definition["column"] else ""
        return f"{definition['privilege']}{column}"

    def _comment(self, piece: Piece, text: str | None) -> str:
        kind, name = piece.definition["on"], piece.definition["name"]
        match kind:
            case "TABLE":
                place = self.table
            case "COLUMN":
                place = f"{self.table}.{quote(name)}"
            case "INDEX":
                place = self.qualified(self.index(name))
            case "STATISTICS":
                schema = name.partition('"."')[0] + '"'
                place = f"{schema}.{quote(part_name(self._shadow, 'statistics', name))}"
            case _:
                place = f"{quote(name)} ON {self.table}"
        return f"COMMENT ON {kind} {place} IS {'NULL' if text is None else literal(text)}"

    def _publication(self, piece: Piece) -> str:
        columns, rows = piece.definition["columns"], piece.definition["rows"]
        listed = f" ({', '.join(map(quote, columns))})" if columns else ""
        where = f" WHERE ({rows})" if rows else ""
        return f"ALTER PUBLICATION {quote(piece.name)} ADD TABLE {self.table}{listed}{where}"

    def _identity(self, definition: Mapping[str, Any]) -> str:
        if definition["mode"] == "i":
            return f"USING INDEX {self.index(definition['index'])}"
        return _IDENTITIES[definition["mode"]]

    # ------------------------------------------------------------------------------------------------ columns

    def column(self, live: Piece, shadow: Piece | None) -> list[str]:
        """Makes a column be as the live table's; SchemaRefusedError where that would mean another content."""
        if shadow is None or live.definition["type"] != shadow.definition["type"]:
            # The live table is made to fit an event before that is applied; the shadow comes to it with the same event.
            refused = _unlike(live)
            raise TransientError(refused.message, cure=refused.cure)
        if any(live.definition[key] != shadow.definition[key] for key in _GIVEN):
            raise _unlike(live)
        mine, theirs, name = shadow.definition, live.definition, quote(live.name)
        changes = []
        if mine["default"] != theirs["default"]:
            if theirs["generated"]:
                raise _unlike(live)
            changes.append("DROP DEFAULT" if theirs["default"] is None else f"SET DEFAULT {theirs['default']}")
        if mine["not_null"] != theirs["not_null"]:
            changes.append("SET NOT NULL" if theirs["not_null"] else "DROP NOT NULL")
        if mine["storage"] != theirs["storage"]:
            changes.append(f"SET STORAGE {_STORAGE[theirs['storage']]}")
        if mine["compression"] != theirs["compression"]:
            changes.append(f"SET COMPRESSION {_COMPRESSION[theirs['compression']]}")
        if mine["statistics"] != theirs["statistics"]:
            target = theirs["statistics"]
            changes.append(f"SET STATISTICS {-1 if target is None else int(target)}")
        if mine["options"] != theirs["options"]:
            gone = ", ".join(option.partition("=")[0] for option in mine["options"])
            changes += [f"RESET ({gone})"] if gone else []
            changes += [f"SET ({_listed_options(theirs['options'])})"] if theirs["options"] else []
        return [f"ALTER TABLE {self.table} ALTER COLUMN {name} {change}" for change in changes]

    # ----------------------------------------------------------------------------------------------- sequences

    def sequence(self, live: Piece, shadow: Piece) -> list[str]:
        """Makes the sequence of an identity column be as the live table's, but for its value and name."""
        mine, theirs = shadow.definition, live.definition
        place = f"{quote(mine['schema'])}.{quote(shadow.definition['name'])}"
        cycle = "CYCLE" if theirs["cycle"] else "NO CYCLE"
        shape = (
            f"ALTER SEQUENCE {place} AS {theirs['type']} INCREMENT {int(theirs['increment'])} "
            f"MINVALUE {int(theirs['min'])} MAXVALUE {int(theirs['max'])} START {int(theirs['start'])} "
            f"CACHE {int(theirs['cache'])} {cycle}"
        )
        statements = [shape]
        statements += [
            f"REVOKE {grant['privilege']} ON SEQUENCE {place} FROM {grant['grantee']}" for grant in mine["grants"] or ()
        ]
        for grant in theirs["grants"] or ():
            option = " WITH GRANT OPTION" if grant["grantable"] else ""
            statements.append(f"GRANT {grant['privilege']} ON SEQUENCE {place} TO {grant['grantee']}{option}")
        comment = "NULL" if theirs["comment"] is None else literal(theirs["comment"])
        return [*statements, f"COMMENT ON SEQUENCE {place} IS {comment}"]


# --------------------------------------------------------------------- what is made under the live table's name


def policies(table: str, pieces: Iterable[Piece]) -> list[str]:
    """Policies may speak of their own table, so they are made once it has its name."""
    made = []
    for piece in pieces:
        definition = piece.definition
        kind = "PERMISSIVE" if definition["permissive"] else "RESTRICTIVE"
        using = f" USING ({definition['using']})" if definition["using"] else ""
        check = f" WITH CHECK ({definition['check']})" if definition["check"] else ""
        made.append(
            f"CREATE POLICY {quote(piece.name)} ON {table} AS {kind} FOR {_COMMANDS[definition['command']]} "
            f"TO {', '.join(definition['roles'])}{using}{check}"
        )
    return made


def row_security(table: str, piece: Piece) -> list[str]:
    enabled = "ENABLE" if piece.definition["enabled"] else "DISABLE"
    forced = "FORCE" if piece.definition["forced"] else "NO FORCE"
    return [f"ALTER TABLE {table} {enabled} ROW LEVEL SECURITY", f"ALTER TABLE {table} {forced} ROW LEVEL SECURITY"]


def triggers(table: str, pieces: Iterable[Piece]) -> list[str]:
    """Triggers as the server spells them out, which is with the table's name."""
    made = []
    for piece in pieces:
        made.append(piece.definition["text"])
        if piece.definition["enabled"] != "O":
            made.append(f"ALTER TABLE {table} {_FIRING[piece.definition['enabled']]} TRIGGER {quote(piece.name)}")
    return made


def view(piece: Piece) -> str:
    """The view over whatever bears the table's name now; its owner, rights, comments and dependants stay."""
    options = _listed_options(piece.definition["options"])
    given = f" WITH ({options})" if options else ""
    return f"CREATE OR REPLACE VIEW {piece.name}{given} AS {piece.definition['text'].rstrip().rstrip(';')}"


def _tablespace(name: str | None) -> str:
    return f"SET LOCAL default_tablespace = {literal(name or '')}"


def _listed_options(options: Sequence[str] | None) -> str:
    pairs = [option.partition("=") for option in options or ()]
    return ", ".join(f"{name} = {literal(value)}" for name, _, value in pairs)


def _unlike(piece: Piece) -> SchemaRefusedError:
    return SchemaRefusedError(
        f"{piece} of the live table is not as it was when the shadow was made",
        cure="Begin the rebuild anew (--discard), or merge the rows (--merge)",
    )
