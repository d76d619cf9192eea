"""Faults to order, by statement or by connection, and a record of what was asked of the stand-in.

Everything here may be used from any thread; nothing waits but the functions named `wait_*`.
"""

import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class FaultKind(StrEnum):
    """What happens. The first four need a statement, the others happen when a connection is made."""

    ERROR = "error"
    DROP = "drop"
    STALL = "stall"
    CLOSE_IDLE = "close_idle"
    SLOW_CONNECT = "slow_connect"
    REFUSE = "refuse"
    AUTHENTICATION = "authentication"


_OF_STATEMENTS = frozenset({FaultKind.ERROR, FaultKind.DROP, FaultKind.STALL, FaultKind.CLOSE_IDLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One order. `pattern` is searched in the statement (or the user's name), regardless of case.

    The first `skip` matches pass unharmed, then `times` are hit (None: all). `after_rows` counts rows sent before a
    drop or stall; `seconds` is how long a stall lasts, a connection is delayed, or a session may idle.
    """

    kind: FaultKind
    pattern: str = ""
    times: int | None = 1
    skip: int = 0
    after_rows: int = 0
    seconds: float = 0.0
    code: str = ""
    message: str = ""
    detail: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", FaultKind(self.kind))
        re.compile(self.pattern)
        if self.kind is FaultKind.ERROR and not (self.code and self.message):
            raise ValueError("an error fault needs a code and a message")
        if self.skip < 0 or self.after_rows < 0 or self.seconds < 0 or (self.times is not None and self.times < 1):
            raise ValueError("skip, after_rows and seconds are not negative, times at least 1")


def serialization_failure(
    pattern: str, *, table: str = "billing.cost_usage", times: int | None = 1, skip: int = 0
) -> Fault:
    """Redshift's error 1023."""
    return Fault(
        kind=FaultKind.ERROR,
        pattern=pattern,
        times=times,
        skip=skip,
        code="XX000",
        message="1023",
        detail=f"Serializable isolation violation on table - {table}, transactions forming the cycle are: 4711, 4712",
    )


def query_cancelled(pattern: str, *, times: int | None = 1, skip: int = 0) -> Fault:
    """A statement timeout, a WLM or QMR abort, or somebody's CANCEL: all look the same."""
    return Fault(
        kind=FaultKind.ERROR,
        pattern=pattern,
        times=times,
        skip=skip,
        code="57014",
        message="Query (4711) cancelled on user's request",
    )


def disk_full(pattern: str, *, times: int | None = 1, skip: int = 0) -> Fault:
    """The cluster's disks are full."""
    detail = (
        "\n  -----------------------------------------------\n  error:  Disk Full\n  code:      1016\n"
        "  context:   node: 0\n  query:     4711\n  location:  fdisk_api.cpp:343\n  process:   query0_81 [pid=1016]\n"
        "  -----------------------------------------------\n"
    )
    return Fault(
        kind=FaultKind.ERROR, pattern=pattern, times=times, skip=skip, code="XX000", message="Disk Full", detail=detail
    )


def permission_denied(pattern: str, *, relation: str = "cost_usage", times: int | None = 1, skip: int = 0) -> Fault:
    """A grant is missing."""
    return Fault(
        kind=FaultKind.ERROR,
        pattern=pattern,
        times=times,
        skip=skip,
        code="42501",
        message=f"permission denied for relation {relation}",
    )


def drop_connection(pattern: str, *, after_rows: int = 0, times: int | None = 1, skip: int = 0) -> Fault:
    """The connection breaks in the middle of a frame after `after_rows` rows (at the end of a shorter result)."""
    return Fault(kind=FaultKind.DROP, pattern=pattern, times=times, skip=skip, after_rows=after_rows)


def stall(pattern: str, *, seconds: float, after_rows: int = 0, times: int | None = 1, skip: int = 0) -> Fault:
    """Nothing comes for `seconds`, or until the fault is removed."""
    return Fault(kind=FaultKind.STALL, pattern=pattern, times=times, skip=skip, after_rows=after_rows, seconds=seconds)


def close_idle(pattern: str, *, seconds: float = 0.0, times: int | None = 1, skip: int = 0) -> Fault:
    """The session is closed when nothing was asked for `seconds` after a matching statement."""
    return Fault(kind=FaultKind.CLOSE_IDLE, pattern=pattern, times=times, skip=skip, seconds=seconds)


def slow_connect(*, seconds: float, times: int | None = 1, pattern: str = "") -> Fault:
    """A connection is answered late, as by a paused Serverless workgroup."""
    return Fault(kind=FaultKind.SLOW_CONNECT, pattern=pattern, times=times, seconds=seconds)


def refuse_connections(*, times: int | None = None) -> Fault:
    """Connections are reset at once."""
    return Fault(kind=FaultKind.REFUSE, times=times)


def authentication_failure(*, pattern: str = "", times: int | None = None) -> Fault:
    """A right password is refused: the credential was revoked."""
    return Fault(kind=FaultKind.AUTHENTICATION, pattern=pattern, times=times)


@dataclass(slots=True)
class _Order:
    fault: Fault
    expression: re.Pattern[str]
    seen: int = 0
    fired: int = 0

    def take(self, text: str) -> bool:
        fault = self.fault
        if (fault.times is not None and self.fired >= fault.times) or not self.expression.search(text):
            return False
        self.seen += 1
        if self.seen <= fault.skip:
            return False
        self.fired += 1
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A fault that is to happen now, with the number it was ordered under."""

    number: int
    fault: Fault


class FaultBook:
    """Orders for faults, and the record of statements executed and connections made."""

    def __init__(self, *, statements_max: int = 10_000) -> None:
        self._changed = threading.Condition()
        self._orders: dict[int, _Order] = {}
        self._numbers = 0
        self._fired: Counter[int] = Counter()
        self._executed: Counter[str] = Counter()
        self._recent: deque[str] = deque(maxlen=statements_max)
        self._connections: deque[dict[str, str]] = deque(maxlen=statements_max)

    # orders

    def add(self, fault: Fault) -> int:
        """Order a fault; the number names it in the other calls."""
        with self._changed:
            self._numbers += 1
            self._orders[self._numbers] = _Order(fault, re.compile(fault.pattern, re.IGNORECASE | re.DOTALL))
            return self._numbers

    def remove(self, number: int) -> None:
        """Withdraw an order; a stall that lasts ends."""
        with self._changed:
            self._orders.pop(number, None)

    def clear(self) -> None:
        """Withdraw all orders."""
        with self._changed:
            self._orders.clear()

    def ordered(self) -> dict[int, Fault]:
        """All orders that have not been withdrawn."""
        with self._changed:
            return {number: order.fault for number, order in self._orders.items()}

    def holds(self, number: int) -> bool:
        """Whether the order has not been withdrawn."""
        with self._changed:
            return number in self._orders

    def fired(self, number: int) -> int:
        """How often the fault has happened."""
        with self._changed:
            return self._fired[number]

    def wait_fired(self, number: int, *, times: int = 1, timeout_seconds: float = 30.0) -> None:
        """Block until the fault has happened `times` times, or raise TimeoutError."""
        self._wait(lambda: self._fired[number] >= times, timeout_seconds, f"fault {number} did not happen")

    # the record

    def executed(self, pattern: str = "") -> int:
        """How many statements that match were executed since the start or `forget`."""
        expression = re.compile(pattern, re.IGNORECASE | re.DOTALL)
        with self._changed:
            return sum(count for text, count in self._executed.items() if expression.search(text))

    def statements(self, pattern: str = "") -> list[str]:
        """The latest statements that match, oldest first."""
        expression = re.compile(pattern, re.IGNORECASE | re.DOTALL)
        with self._changed:
            return [text for text in self._recent if expression.search(text)]

    def connections(self) -> list[dict[str, str]]:
        """The startup parameters of the latest connections, oldest first."""
        with self._changed:
            return list(self._connections)

    def forget(self) -> None:
        """Empty the record; orders stay."""
        with self._changed:
            self._executed.clear()
            self._recent.clear()
            self._connections.clear()

    def wait_executed(self, pattern: str, *, count: int = 1, timeout_seconds: float = 30.0) -> None:
        """Block until `count` matching statements were executed, or raise TimeoutError."""
        expression = re.compile(pattern, re.IGNORECASE | re.DOTALL)

        def enough() -> bool:
            return sum(number for text, number in self._executed.items() if expression.search(text)) >= count

        self._wait(enough, timeout_seconds, f"no {count} statements matched {pattern!r}")

    # for the front

    def take_statement(self, text: str) -> Taken | None:
        """Record an execution; the first order it fulfils happens."""
        with self._changed:
            self._executed[text] += 1
            self._recent.append(text)
            self._changed.notify_all()
            return self._take(text, of_statements=True)

    def take_connection(self, parameters: dict[str, str]) -> Taken | None:
        """Record a connection; the first order it fulfils happens."""
        with self._changed:
            self._connections.append(parameters)
            self._changed.notify_all()
            return self._take(parameters.get("user", ""), of_statements=False)

    def take_refusal(self) -> Taken | None:
        """An order to reset connections, which are not even read."""
        with self._changed:
            return self._take("", of_statements=False, only=FaultKind.REFUSE)

    def _take(self, text: str, *, of_statements: bool, only: FaultKind | None = None) -> Taken | None:
        for number, order in self._orders.items():
            kind = order.fault.kind
            wanted = kind is only if only is not None else kind is not FaultKind.REFUSE
            if wanted and (kind in _OF_STATEMENTS) is of_statements and order.take(text):
                self._fired[number] += 1
                self._changed.notify_all()
                return Taken(number=number, fault=order.fault)
        return None

    def _wait(self, condition: Callable[[], bool], timeout_seconds: float, what: str) -> None:
        end = time.monotonic() + timeout_seconds
        with self._changed:
            while not condition():
                rest = end - time.monotonic()
                if rest <= 0 or not self._changed.wait(rest):
                    if condition():
                        return
                    raise TimeoutError(f"{what} within {timeout_seconds} s")


def fault_as_json(fault: Fault) -> dict[str, Any]:
    """A fault as plain values, for another process."""
    return {**asdict(fault), "kind": fault.kind.value}
