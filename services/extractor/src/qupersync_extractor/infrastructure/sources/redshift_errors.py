"""What the driver raises, turned into qupersync's errors in one place."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from qupersync_extractor.domain.pipeline import Relation, SourceTable
from qupersync_extractor.infrastructure.sources.paging_sql import quoted
from qupersync_shared.kernel.errors import QupersyncError, SourceUnavailableError, TerminalError, TransientError

_UNAVAILABLE_CLASSES = ("08", "40", "53", "55", "57", "58")
_SLOW = "Free space on the cluster; reading is tried again with growing delay"
_CANCELLED = "Tried again with growing delay; if it stays, look at the workload queue, the statement timeout "
_DISK_FULL = re.compile(r"disk full|code:\s*1016\b")
_TERMINAL_CLASSES = ("0A", "22", "42")


class MissingRelationError(TransientError):
    """The server knows no relation of this name (42P01)."""


class MissingRightError(TransientError):
    """The relation may not be read by this user (42501); so say views, too, that a kind of cluster does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorContext:
    """What was being done, for the words of an error."""

    user: str
    place: str
    relation: Relation | None = None

    @property
    def what(self) -> str:
        return "the source" if self.relation is None else f"{self.relation}"


def classify(error: BaseException, context: ErrorContext) -> QupersyncError:
    """The error of qupersync's that stands for one of the driver's.

    Only an answer of the server is a dictionary. Everything else (InterfaceError without one, struct.error, KeyError,
    UnicodeDecodeError, OSError…) is how this driver shows a connection that broke, perhaps in the middle of a frame.
    """
    fields = error.args[0] if error.args and isinstance(error.args[0], Mapping) else None
    if fields is None:
        return SourceUnavailableError(
            f"the connection to {context.place} failed: {type(error).__name__}: {_words(error)}",
            cure="Tried again with growing delay; check host, port, network and TLS settings if it stays",
        )
    code, message, detail = (str(fields.get(key, "")) for key in ("C", "M", "D"))
    said = f"{context.place} answered {code}: {' '.join(message.split())}"
    return _of_code(code, message, f"{message} {detail}".lower(), said, context)


def _of_code(  # noqa: PLR0911  # a table of verdicts, the first that fits
    code: str, message: str, words: str, said: str, context: ErrorContext
) -> QupersyncError:
    if message.strip() == "1023" or "serializable isolation violation" in words or code.startswith("40"):
        return SourceUnavailableError(said, cure="A conflict with another transaction: read again by itself")
    if _DISK_FULL.search(words) or code == "53100":
        return SourceUnavailableError(said, cure=_SLOW)
    if code.startswith("28"):
        return TransientError(
            said,
            cure=f"Check source.user ({context.user}) and its password (QUPERSYNC_SOURCE__PASSWORD or "
            "source.password_file), and whether it has expired",
        )
    if code == "42501":
        return MissingRightError(said, cure=_grant(context))
    if code in {"42P01", "3F000", "3D000"}:
        kind = MissingRelationError if code == "42P01" else TransientError
        return kind(said, cure=f"Create it, mend the name of {context.what}, or grant its use: {_grant(context)}")
    if code.startswith(_UNAVAILABLE_CLASSES):
        return SourceUnavailableError(said, cure=_CANCELLED + "(source.statement_timeout) and who cancels queries")
    if code.startswith(_TERMINAL_CLASSES):
        return TerminalError(f"{context.what} cannot be read: {said}", cure="Mend the query, the key or the cursor")
    return TransientError(f"{context.what} could not be read: {said}", cure="Tried again with growing delay")


def _grant(context: ErrorContext) -> str:
    """The statements an administrator runs."""
    user = quoted(context.user)
    if isinstance(context.relation, SourceTable):
        schema, table = quoted(context.relation.schema), quoted(context.relation.name)
        return f"GRANT USAGE ON SCHEMA {schema} TO {user}; GRANT SELECT ON {schema}.{table} TO {user}"
    return f"GRANT USAGE ON SCHEMA and GRANT SELECT ON what the query reads TO {user}"


def _words(error: BaseException) -> str:
    """The error's own words and those of what it wraps, which is often the only telling part."""
    parts = [" ".join(str(part).split()) for part in error.args] or [""]
    return ": ".join(part for part in parts if part) or "no further words"
