"""The statements that are too long to stand between Python lines, by name; each says what it locks."""

from functools import cache
from importlib.resources import files

from sqlalchemy import TextClause, text


@cache
def statement(name: str) -> TextClause:
    """The statement of `<name>.sql`."""
    return text(files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8"))
