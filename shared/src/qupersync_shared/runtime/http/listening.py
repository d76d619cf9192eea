"""Sockets that listen: on every address of a host, or on none where one of them is somebody else's."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

from qupersync_shared.kernel.errors import TransientError

_BACKLOG: Final = 128
_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})
_ANY_IPV6: Final = "::"


class Listen(Protocol):
    """Where to listen; port 0 picks a free one."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


class PortTakenError(TransientError):
    """Another process listens there."""


async def listening(where: Listen) -> list[socket.socket]:
    """Sockets that listen on all of the host's addresses, on the same port.

    An address that this machine does not have is left out where it has another. PortTakenError; TransientError where
    nobody may listen there.
    """
    host = where.host.strip("[]")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host or None, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise TransientError(
            f"{where.host!r} is no address of this machine ({error})", cure="Mend host in the configuration"
        ) from error
    with contextlib.ExitStack() as opened:
        sockets: list[socket.socket] = []
        absent: OSError | None = None
        port = where.port
        for family, address in _addresses(found):
            one = opened.enter_context(contextlib.closing(socket.socket(family, socket.SOCK_STREAM)))
            try:
                _bind(one, (address[0], port, *address[2:]))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise _refused(where, error) from error
                absent = error
                continue
            port = one.getsockname()[1]
            sockets.append(one)
        if not sockets:
            raise _refused(where, absent or OSError("it has no address"))
        opened.pop_all()
    return sockets


def _addresses(found: Iterable[Any]) -> Iterator[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """Each address once, of what `getaddrinfo` returned."""
    seen = set()
    for family, _, _, _, address in found:
        if address not in seen:
            seen.add(address)
            yield family, address


def _bind(one: socket.socket, address: tuple[Any, ...]) -> None:
    one.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if one.family == socket.AF_INET6:
        # The address that stands for all of them serves IPv4 clients, too.
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != _ANY_IPV6))
    one.bind(address)
    # Here and not later: two sockets may be bound to one address, and only one of them may listen.
    one.listen(_BACKLOG)


def _refused(where: Listen, error: OSError) -> TransientError:
    if error.errno == errno.EADDRINUSE:
        return PortTakenError(
            f"another process listens on {shown(where.host, where.port)}",
            cure="This one takes over when that one ends; give it a port of its own to have both",
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return TransientError(
            f"this process may not listen on port {where.port}", cure="Choose a port above 1023 in the configuration"
        )
    return TransientError(
        f"cannot listen on {shown(where.host, where.port)}: {error.strerror or error}",
        cure="Mend host and port in the configuration",
    )


def shown(host: str, port: int) -> str:
    """Host and port as a URL has them."""
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"
