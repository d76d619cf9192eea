"""A DuckDB file, or none: opened for each call, so that a replaced file is seen and a writer gets in between.

DuckDB lets many processes read a file, or one write it. What meets the other's lock is told to try again.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb

from qupersync_shared.kernel.errors import QupersyncError, SourceUnavailableError, TerminalError, TransientError

IN_MEMORY: Final = ":memory:"
_TERMINAL: Final = (
    duckdb.BinderException,
    duckdb.ParserException,
    duckdb.SyntaxException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
    duckdb.InvalidInputException,
    duckdb.InvalidTypeException,
    duckdb.TypeMismatchException,
    duckdb.NotImplementedException,
    duckdb.ConstraintException,
)
_LOCKED: Final = ("could not set lock on file", "different configuration than existing connections")
_UNFINISHED: Final = ("no magic bytes found", "too small to be a parquet file")


class DuckDbFile:
    """One file by path; None stands for an empty database in memory, where a query may read Parquet and CSV files."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __str__(self) -> str:
        return "DuckDB without a file" if self._path is None else str(self._path)

    @contextlib.contextmanager
    def reading(self, what: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection that shows moments in UTC; `what` is read, and named in errors."""
        with self._opened(what, read_only=self._path is not None) as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self, what: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A transaction that is committed where the block ends well, and nobody else has the file open meanwhile."""
        if self._path is None:
            raise TerminalError(f"{what} cannot be written: there is no file", cure="Name the DuckDB file")
        with self._opened(what, read_only=False) as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _opened(self, what: str, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            with duckdb.connect(str(self._path or IN_MEMORY), read_only=read_only) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                yield connection
        except duckdb.Error as error:
            done = f"{what} cannot be {'read from' if read_only or self._path is None else 'written to'} {self}"
            raise self._classified(error, done) from error

    def _classified(self, error: duckdb.Error, failed: str) -> QupersyncError:
        words = " ".join(str(error).split())
        said = words.lower()
        if any(part in said for part in _LOCKED):
            return SourceUnavailableError(
                f"{failed}: it is held by another process: {words}",
                cure="Tried again with growing delay: one process writes a DuckDB file, or many read it; let the other "
                "close it, or let it write a copy and rename that",
            )
        if isinstance(error, duckdb.CatalogException):
            return TransientError(f"{failed}: {words}", cure=self._cure_of_a_missing_table())
        if isinstance(error, _TERMINAL) and not any(part in said for part in _UNFINISHED):
            return TerminalError(f"{failed}: {words}", cure="Mend the query, the key or the rows")
        return SourceUnavailableError(
            f"{failed}: {words}",
            cure="Tried again with growing delay; files must exist, be whole and readable, and not be open for "
            "writing elsewhere",
        )

    def _cure_of_a_missing_table(self) -> str:
        if self._path is None:
            return "Name the file that has it in source.path, or read files in a query (`FROM read_parquet('…')`)"
        return "Create it, or mend its name"
