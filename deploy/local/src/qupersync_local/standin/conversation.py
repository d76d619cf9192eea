"""One session's talk between a Redshift driver and PostgreSQL, both ways, as bytes in and bytes out; no I/O.

PostgreSQL answers in the order it was asked, so a queue of what was asked tells what an answer belongs to. An error
of the stand-in's own (a refusal, an ordered fault) is made by PostgreSQL itself: the message is replaced by one that
must fail and names a marker, and the answer that mentions the marker is replaced in turn. So order, transaction state
and everything that follows an error are real.
"""

import itertools
import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from qupersync_local.standin import wire
from qupersync_local.standin.faults import FaultBook, FaultKind, Taken
from qupersync_local.standin.rows import NotANumberError, NumericColumn, numeric_columns, rescaled, rows_end
from qupersync_local.standin.sql_text import Refusal, for_postgres

_MARKER = "refused_by_standin_"
_MARKER_BYTES = _MARKER.encode()
_HEADER_BYTES = 5
_ANY_ROWS = 1 << 62
_BINARY_PROTOCOL = 2
_REDSHIFT_VERSION = "8.0.2"  # the driver decides by it which commands tell a count
_LOGIN_REFUSED = "28P01"
_INVALID_AUTHORIZATION = "28000"


@dataclass(slots=True)
class _Statement:
    text: str
    columns: tuple[wire.Column, ...] = ()


@dataclass(slots=True)
class _Portal:
    statement: _Statement
    formats: tuple[int, ...] = ()


@dataclass(slots=True)
class _Describe:
    statement: _Statement
    name: bytes | None = None  # None for a portal


@dataclass(slots=True)
class _Run:
    """An execution whose rows are to come; `simple` lasts until the server is ready again."""

    portal: _Portal
    taken: Taken | None = None
    simple: bool = False
    rows: int = 0
    plan: tuple[NumericColumn, ...] | None = None


@dataclass(slots=True)
class _Sync:
    pass


@dataclass(slots=True)
class _Forget:
    """A Close of the stand-in's own, whose answer the client must not see."""


_Asked = _Describe | _Run | _Sync | _Forget


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What to send to the client; then, if a fault is to happen here, which. Ask again with no bytes after a stall."""

    data: bytes = b""
    fault: Taken | None = None


@dataclass(slots=True, kw_only=True)
class Conversation:
    """The state of one session. `types` maps OIDs of PostgreSQL to those of Redshift."""

    book: FaultBook
    types: Mapping[int, int]
    protocol: int
    announce: bool
    asked: int = 0  # messages from the client so far
    idle_close: Taken | None = None  # set when a session that was asked to idle out has become idle
    _ready: bool = False
    _case_sensitive: bool = False
    _swallow: bool = False
    _from_client: bytes = b""
    _from_server: bytes = b""
    _markers: "itertools.count[int]" = field(default_factory=itertools.count)
    _errors: dict[bytes, bytes] = field(default_factory=dict)
    _statements: dict[bytes, _Statement] = field(default_factory=dict)
    _portals: dict[bytes, _Portal] = field(default_factory=dict)
    _pending: "deque[_Asked]" = field(default_factory=deque)
    _spoiled: set[bytes] = field(default_factory=set)
    _idle_next: Taken | None = None
    _fault: Taken | None = None

    # client to server

    def from_client(self, chunk: bytes) -> bytes:
        """Bytes for PostgreSQL; incomplete messages wait for the rest."""
        buffer = self._from_client + chunk
        out, place = [], 0
        while place + _HEADER_BYTES <= len(buffer):
            end = place + 1 + int.from_bytes(buffer[place + 1 : place + 5], "big")
            if end > len(buffer):
                break
            whole = buffer[place:end]
            out.append(self._asked(whole[:1], whole[_HEADER_BYTES:]) or whole)
            self.asked += 1
            place = end
        self._from_client = buffer[place:]
        return b"".join(out)

    def _asked(self, kind: bytes, body: bytes) -> bytes | None:
        """Note one message; returns what is sent in its place, or None to send it as it is."""
        match kind:
            case b"P":
                return self._parse(body)
            case b"B":
                portal, name, formats = wire.bound(body)
                self._portals[portal] = _Portal(self._statements.get(name, _Statement("")), formats)
            case b"D":
                name = body[1:-1]
                self._pending.append(_Describe(self._named(body[:1], name), name if body[:1] == b"S" else None))
            case b"E":
                return self._execute(wire.cstring(body, 0)[0])
            case b"C" if body[:1] == b"S":
                self._statements.pop(body[1:-1], None)
            case b"S":
                self._pending.append(_Sync())
            case b"Q":
                return self._query(body)
            case _:
                pass
        return None

    def _named(self, kind: bytes, name: bytes) -> _Statement:
        if kind == b"S":
            return self._statements.get(name, _Statement(""))
        portal = self._portals.get(name)
        return _Statement("") if portal is None else portal.statement

    def _parse(self, body: bytes) -> bytes:
        name, place = wire.cstring(body, 0)
        text, place = wire.cstring(body, place)
        self._statements[name] = _Statement(text.decode(errors="replace"))
        parse = wire.message(b"P", name + b"\0" + self._rewritten(text) + b"\0" + body[place:])
        if name not in self._spoiled:
            return parse
        self._spoiled.discard(name)  # the client believes that it was never prepared
        self._pending.append(_Forget())
        return wire.message(b"C", b"S" + name + b"\0") + parse

    def _rewritten(self, text: bytes) -> bytes:
        decided = for_postgres(text.decode("utf-8", "surrogateescape"), case_sensitive=self._case_sensitive)
        if isinstance(decided, Refusal):
            return self._failing(wire.error(code=decided.code, text=decided.message, detail=decided.detail))
        if decided.case_sensitive is not None:
            self._case_sensitive = decided.case_sensitive
        return decided.text.encode("utf-8", "surrogateescape")

    def _failing(self, error: bytes) -> bytes:
        """Text that fails as a statement and as the name of a portal, and will be answered with `error`."""
        marker = _MARKER_BYTES + b"%d" % next(self._markers)
        self._errors[marker] = error
        return marker

    def _execute(self, name: bytes) -> bytes | None:
        portal = self._portals.get(name) or _Portal(_Statement(""))
        taken = self.book.take_statement(portal.statement.text)
        self._pending.append(_Run(portal, taken))
        if taken is None or taken.fault.kind is not FaultKind.ERROR:
            return None
        return wire.message(b"E", self._failing(_ordered_error(taken)) + b"\0" + struct.pack("!i", 0))

    def _query(self, body: bytes) -> bytes:
        text = body[:-1]
        statement = _Statement(text.decode(errors="replace"))
        taken = self.book.take_statement(statement.text)
        self._pending.append(_Run(_Portal(statement), taken, simple=True))
        failing = taken is not None and taken.fault.kind is FaultKind.ERROR
        sent = self._failing(_ordered_error(taken)) if failing and taken is not None else self._rewritten(text)
        return wire.message(b"Q", sent + b"\0")

    # server to client

    def from_server(self, chunk: bytes) -> Output:
        """Bytes for the client; stops early where a fault is to happen, and goes on when called again."""
        buffer = self._from_server + chunk if self._from_server else chunk
        out: list[bytes] = []
        place = kept = 0
        stop = len(buffer)
        while place + _HEADER_BYTES <= stop:
            if self._fault_is_due(buffer[place]):
                break
            if buffer[place] == 68:  # noqa: PLR2004 - D, DataRow
                end, rewritten = self._rows(buffer, place, stop)
            else:
                end = place + 1 + int.from_bytes(buffer[place + 1 : place + 5], "big")
                rewritten = self._answered(buffer[place], buffer[place + _HEADER_BYTES : end]) if end <= stop else None
            if end > stop or end == place:
                break
            if rewritten is not None:
                out += (buffer[kept:place], rewritten)
                kept = end
            place = end
        out.append(buffer[kept:place])
        fault, self._fault = self._fault, None
        if fault is not None and fault.fault.kind is FaultKind.DROP:
            whole = 1 + int.from_bytes(buffer[place + 1 : place + 5], "big")
            out.append(buffer[place : place + _HEADER_BYTES + (whole - _HEADER_BYTES) // 2])
        self._from_server = buffer[place:]
        return Output(data=b"".join(out), fault=fault)

    def _run(self) -> _Run | None:
        head = self._pending[0] if self._pending else None
        return head if isinstance(head, _Run) else None

    def _fault_is_due(self, kind: int) -> bool:
        """Whether the fault of the running statement happens before the message that comes next."""
        run = self._run()
        if run is None or run.taken is None or kind not in b"DCIs":
            return False
        fault = run.taken.fault
        if fault.kind not in {FaultKind.DROP, FaultKind.STALL} or (kind == 68 and run.rows < fault.after_rows):  # noqa: PLR2004
            return False
        self._fault, run.taken = run.taken, None
        return True

    def _rows(self, buffer: bytes, place: int, stop: int) -> tuple[int, bytes | None]:
        run = self._run()
        if run is None:
            return rows_end(buffer, place, stop, _ANY_ROWS)[0], b"" if self._swallow else None
        limited = run.taken is not None and run.taken.fault.kind in {FaultKind.DROP, FaultKind.STALL}
        rows_max = run.taken.fault.after_rows - run.rows if limited and run.taken is not None else _ANY_ROWS
        end, rows = rows_end(buffer, place, stop, rows_max)
        run.rows += rows
        if self._swallow:
            return end, b""
        if run.plan is None:
            run.plan = (
                ()
                if self.protocol < _BINARY_PROTOCOL
                else numeric_columns(wire.with_formats(run.portal.statement.columns, run.portal.formats))
            )
        if not run.plan or not rows:
            return end, None
        try:
            return end, rescaled(buffer, place, end, run.plan)
        except (NotANumberError, OverflowError) as error:
            self._swallow = True
            return end, wire.error(code="22003", text=str(error))

    def _answered(self, kind: int, body: bytes) -> bytes | None:
        """Note one message; returns what is sent in its place, or None to send it as it is."""
        sent: bytes | None = None
        match chr(kind):
            case "Z":
                sent = self._ready_for_query(body)
            case _ if self._swallow:
                sent = b""
            case "T":
                sent = self._described(body)
            case "n" if self._pending and isinstance(self._pending[0], _Describe):
                self._pending.popleft()
            case "3" if self._pending and isinstance(self._pending[0], _Forget):
                self._pending.popleft()
                sent = b""
            case "C" | "I" | "s":
                self._completed()
            case "E":
                sent = self._failed(body)
            case "S" if body.startswith(b"server_version\0"):
                sent = wire.parameter_status("server_version", _REDSHIFT_VERSION)
            case _:
                pass
        return sent

    def _described(self, body: bytes) -> bytes:
        described = wire.columns(body, self.types)
        head = self._pending[0] if self._pending else None
        if isinstance(head, _Describe):
            self._pending.popleft()
            head.statement.columns = described
        elif isinstance(head, _Run):
            head.portal.statement.columns, head.plan = described, None
        try:
            wire.check_numerics(described)
        except wire.UntypedNumericError as error:
            self._swallow = True
            if isinstance(head, _Describe) and head.name:
                self._spoiled.add(head.name)
            return wire.error(code="42804", text=str(error))
        return wire.row_description(described, extended=self.protocol > 0)

    def _completed(self) -> None:
        run = self._run()
        if run is None:
            return
        if run.taken is not None and run.taken.fault.kind is FaultKind.CLOSE_IDLE:
            self._idle_next, run.taken = run.taken, None
        if not run.simple:
            self._pending.popleft()

    def _failed(self, body: bytes) -> bytes | None:
        while self._pending and not isinstance(self._pending[0], _Sync) and not _is_simple(self._pending[0]):
            self._pending.popleft()
        place = body.find(_MARKER_BYTES)
        if place >= 0:
            end = place + len(_MARKER_BYTES)
            while body[end : end + 1].isdigit():
                end += 1
            return self._errors.pop(body[place:end], None)
        fields = wire.error_fields(body)
        if not self._ready and fields.get("C") == _LOGIN_REFUSED:
            return wire.error(code=_INVALID_AUTHORIZATION, text=fields.get("M", ""), severity="FATAL")
        return None

    def _ready_for_query(self, body: bytes) -> bytes | None:
        self._swallow = False
        while self._pending:
            left = self._pending.popleft()
            if isinstance(left, _Sync) or _is_simple(left):
                break
        if body == b"I":
            self._portals.clear()
        self.idle_close, self._idle_next = self._idle_next, None
        if self._ready or not self.announce:
            self._ready = True
            return None
        self._ready = True
        return wire.parameter_status("server_protocol_version", str(self.protocol)) + wire.message(b"Z", body)


def _is_simple(asked: _Asked) -> bool:
    return isinstance(asked, _Run) and asked.simple


def _ordered_error(taken: Taken) -> bytes:
    fault = taken.fault
    return wire.error(code=fault.code, text=fault.message, detail=fault.detail)
