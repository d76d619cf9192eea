"""Value objects of the source: a table by name, a query by its text; and the sizes that system views count in."""

import re
from dataclasses import dataclass
from typing import Final, Self

from qupersync_extractor.domain.catalogue.query_text import normalised, query_hash

MB_PER_GB: Final = 1_024
BYTES_PER_GB: Final = 1_024**3
IDENTIFIER_BYTES_MAX: Final = 127
_IDENTIFIER: Final = re.compile(r'(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^".]+))(?=\.[^.]|$)')


@dataclass(frozen=True, slots=True, order=True)
class RedshiftTable:
    """A table by schema and name, as the system views write them; ValueError for what is no name."""

    schema: str
    name: str

    def __post_init__(self) -> None:
        for part, text in (("schema", self.schema), ("name", self.name)):
            if not text or text != text.strip() or "\0" in text:
                raise ValueError(f"the {part} of a Redshift table is empty, padded or holds NUL: write schema.table")
            if len(text.encode()) > IDENTIFIER_BYTES_MAX:
                raise ValueError(f"the {part} of a Redshift table is over {IDENTIFIER_BYTES_MAX} bytes: shorten it")

    @classmethod
    def parse(cls, text: str, *, case_sensitive: bool = False) -> Self:
        """The table that `schema.table` names (without a schema: `public`); quotes may stand around either part.

        Redshift folds names to lower case, quoted ones too, unless `enable_case_sensitive_identifier` is on: say so by
        `case_sensitive`, and quoted parts keep their case.
        """
        parts = [name if quoted and case_sensitive else name.lower() for name, quoted in _identifiers(text.strip())]
        match parts:
            case [name]:
                return cls(schema="public", name=name)
            case [schema, name]:
                return cls(schema=schema, name=name)
        raise ValueError(f"{text!r} does not name a table: write schema.table")

    @property
    def quoted(self) -> str:
        """The name as SQL takes it, whatever it holds."""
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self.schema, self.name))

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class RedshiftQuery:
    """A query by its text; two that differ only in literals, comments, case and blanks have one `hash`."""

    text: str

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("a query's text is empty")

    @property
    def normalised(self) -> str:
        """The text without what makes two runs of one query differ."""
        return normalised(self.text)

    @property
    def hash(self) -> str:
        """MD5 of the normalised text, 32 hexadecimal digits: what `query_history.query_hash` holds."""
        return query_hash(self.text)

    def __str__(self) -> str:
        return self.text


def _identifiers(text: str) -> list[tuple[str, bool]]:
    """The parts between dots that no quotes enclose, unquoted, and whether each was quoted."""
    parts: list[tuple[str, bool]] = []
    rest = text
    while True:
        match = _IDENTIFIER.match(rest)
        if match is None:
            raise ValueError(f"{text!r} does not name a table: write schema.table")
        quoted = match["quoted"]
        parts.append((match["plain"], False) if quoted is None else (quoted.replace('""', '"'), True))
        rest = rest[match.end() :]
        if not rest:
            return parts
        rest = rest.removeprefix(".")
