"""Ordering faults and reading the record from another process: JSON lines over a unix socket in the stack's directory.

One request a line, `{"do": …}`; one answer a line, `{"ok": true, "value": …}` or `{"ok": false, "error": …}`.
"""

import asyncio
import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from qupersync_local.standin.faults import Fault, FaultBook, fault_as_json
from qupersync_local.supervise import SOCKET_PATH_BYTES_MAX


class AdminServer:
    """Serves one fault book; only the user who started the stack can reach it."""

    def __init__(self, book: FaultBook, path: Path) -> None:
        self.path = path if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX else None
        self._book = book
        self._server: asyncio.Server | None = None

    async def run(self) -> None:
        """Listen, unless the path would be too long for a socket (then `path` is None)."""
        if self.path is None or self._server is not None:
            return
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))
        self.path.chmod(0o600)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            if self.path is not None:
                self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return {"ok": True, "value": self._do(json.loads(line))}
        except (ValueError, TypeError, KeyError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    def _do(self, request: Mapping[str, Any]) -> object:
        book = self._book
        number, pattern = int(request.get("number", 0)), str(request.get("pattern", ""))
        known: dict[str, Callable[[], object]] = {
            "add": lambda: book.add(Fault(**request["fault"])),
            "remove": lambda: book.remove(number),
            "clear": book.clear,
            "ordered": lambda: {str(key): fault_as_json(fault) for key, fault in book.ordered().items()},
            "fired": lambda: book.fired(number),
            "executed": lambda: book.executed(pattern),
            "statements": lambda: book.statements(pattern),
            "connections": book.connections,
            "forget": book.forget,
        }
        if request["do"] not in known:
            raise ValueError(f"unknown request {request['do']!r}: there are {', '.join(known)}")
        return known[request["do"]]()


class AdminClient:
    """The same calls as `FaultBook`, from another process. Not for several threads at once."""

    def __init__(self, path: str | Path, *, timeout_seconds: float = 10.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_seconds)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def add(self, fault: Fault) -> int:
        return int(self._ask("add", fault=fault_as_json(fault)))

    def remove(self, number: int) -> None:
        self._ask("remove", number=number)

    def clear(self) -> None:
        self._ask("clear")

    def fired(self, number: int) -> int:
        return int(self._ask("fired", number=number))

    def executed(self, pattern: str = "") -> int:
        return int(self._ask("executed", pattern=pattern))

    def statements(self, pattern: str = "") -> list[str]:
        return [str(text) for text in self._ask("statements", pattern=pattern)]

    def forget(self) -> None:
        self._ask("forget")

    def _ask(self, do: str, **values: object) -> Any:
        self._socket.sendall(json.dumps({"do": do, **values}).encode() + b"\n")
        answer = json.loads(self._lines.readline())
        if not answer["ok"]:
            raise ValueError(answer["error"])
        return answer["value"]
