"""Logs: one event name and typed fields a line; JSON where nobody watches, text on a terminal.

Events never carry row values or secrets: errors are cut to their first line (drivers put rows into the rest), and
what looks like a password is masked wherever it stands.
"""

import json as json_module
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from opentelemetry import trace

from qupersync_shared.kernel.errors import QupersyncError

_FIELDS: Final = "qupersync_fields"
_SECRET_KEYS: Final = re.compile(r"(password|passwd|secret|token|dsn|credential|authorization|seed)s?$", re.IGNORECASE)
_SECRET_URL: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]{0,30}://)(?P<user>[^\s:@/]*):[^\s,'\"]*@", re.IGNORECASE)
_SECRET_PAIR: Final = re.compile(
    r"(?P<key>(?:password|passwd|secret)\s*[=:]\s*)(?P<quote>['\"]?)[^\s'\",;)]+", re.IGNORECASE
)
_NOT_SECRET: Final = frozenset({"fencing_token"})
_TEXT_MAX: Final = 2000
_MASK: Final = "***"
QUIET: Final = (
    "nats",
    "asyncio",
    "apscheduler",
    "alembic",
    "sqlalchemy",
    "faststream",
    "redshift_connector",
    "uvicorn.access",
)


class Log:
    """A named logger: `log.info("batch_applied", pipeline="cost", sequence=7)`; `bind` keeps fields for later."""

    __slots__ = ("_bound", "_logger")

    def __init__(self, logger: logging.Logger, bound: Mapping[str, object]) -> None:
        self._logger = logger
        self._bound = dict(bound)

    def bind(self, **fields: object) -> "Log":
        """A logger whose every event carries these fields too."""
        return Log(self._logger, {**self._bound, **fields})

    def debug(self, event: str, /, **fields: object) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._write(logging.ERROR, event, fields)

    def exception(self, event: str, /, **fields: object) -> None:
        """An error with the traceback of the exception being handled; for what should not have happened."""
        self._write(logging.ERROR, event, fields, error=sys.exception())

    def _write(self, level: int, event: str, fields: dict[str, object], error: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            info = None if error is None else (type(error), error, error.__traceback__)
            self._logger.log(level, event, exc_info=info, extra={_FIELDS: {**self._bound, **fields}})


def get_logger(name: str) -> Log:
    """The logger of a module; `configure` decides where its events go."""
    return Log(logging.getLogger(name), {})


def configure(level: str = "info", json: bool | None = None, *, stream: TextIO | None = None) -> None:
    """Sends every log record of the process to `stream` (stderr); `json` None means: unless it is a terminal.

    Safe to call again: the last call holds.
    """
    target = stream or sys.stderr
    as_json = not target.isatty() if json is None else json
    handler = logging.StreamHandler(target)
    handler.setFormatter(_JsonFormatter() if as_json else _TextFormatter())
    root = logging.getLogger()
    for old in [known for known in root.handlers if isinstance(known.formatter, _JsonFormatter | _TextFormatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def describe(error: BaseException) -> str:
    """An error in one line that is fit for logs, status and heartbeats: no row values, no secrets."""
    if isinstance(error, QupersyncError):
        return mask(str(error))
    first = str(error).strip().partition("\n")[0]
    return mask(f"{type(error).__name__}: {first}" if first else type(error).__name__)


def mask(text: str) -> str:
    """The text with passwords in URLs and `password=…` pairs replaced, cut at 2,000 characters."""
    text = text[: 2 * _TEXT_MAX]  # the patterns must not meet megabytes
    text = _SECRET_URL.sub(rf"\g<scheme>\g<user>:{_MASK}@", text)
    text = _SECRET_PAIR.sub(rf"\g<key>\g<quote>{_MASK}", text)
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    given = getattr(record, _FIELDS, {})
    fields = {name: _plain(name, value) for name, value in given.items() if value is not None}
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        fields.setdefault("trace_id", f"{context.trace_id:032x}")
    return fields


def _plain(name: str, value: object) -> Any:  # noqa: PLR0911  # one line a type
    if _SECRET_KEYS.search(name) and name not in _NOT_SECRET:
        return _MASK
    match value:
        case bool() | int() | float():
            return value
        case str():
            return mask(value)
        case BaseException():
            return describe(value)
        case datetime():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            return f"{len(value)} bytes"
        case Mapping():
            return {str(key): _plain(str(key), inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(name, inner) for inner in value]
        case _:
            return mask(str(value))


def _trace(record: logging.LogRecord) -> str:
    """The traceback without the exceptions' later lines, which may hold rows."""
    error = record.exc_info[1] if record.exc_info else None
    parts: list[str] = []
    while error is not None:
        frames = "".join(traceback.format_tb(error.__traceback__))
        parts.append(f"{frames}{describe(error)}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\ncaused by\n".join(parts)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": mask(record.getMessage()),
            "logger": record.name,
        }
        line |= {(f"{name}_" if name in line else name): value for name, value in _fields(record).items()}
        if record.exc_info:
            line["traceback"] = _trace(record)
        return json_module.dumps(line, ensure_ascii=False, separators=(",", ":"))


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        pairs = "".join(f" {name}={_shown(value)}" for name, value in _fields(record).items())
        line = f"{moment} {record.levelname.lower():7} {mask(record.getMessage())}{pairs}"
        return f"{line}\n{_trace(record)}" if record.exc_info else line


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json_module.dumps(value, ensure_ascii=False)
    plain = text.isprintable() and not set(text) & set(' "=') and text
    return text if plain or not isinstance(value, str) else json_module.dumps(text, ensure_ascii=False)
