"""The warehouse's statements, by name; each says what it locks. DuckDB locks whole files: a connection that writes has
its file alone.
"""

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> str:
    """The statement of `<name>.sql`."""
    return files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
