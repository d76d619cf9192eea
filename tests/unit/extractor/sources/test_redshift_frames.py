"""The reader of frames: however the bytes arrive, the rows stand where they were received, and nothing is lost."""

import gc
import random
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from redshift_connector.error import InterfaceError, ProgrammingError

from qupersync_extractor.infrastructure.sources import redshift_frames
from qupersync_extractor.infrastructure.sources.redshift_frames import FrameReader


class Driver:
    """As much of a connection as the reader touches."""

    def __init__(self, usock: socket.socket) -> None:
        self._usock = usock
        self._sock = usock.makefile("rwb")
        self.error: Exception | None = None
        self.handled: list[tuple[bytes, bytes]] = []
        self.handle_messages: Any = None
        self.message_types = {bytes((n,)): self._handler(bytes((n,))) for n in range(256)}

    def _handler(self, letter: bytes) -> Any:
        def handle(body: bytes, _: Any) -> None:
            self.handled.append((letter, body))
            if letter == b"E":
                self.error = ProgrammingError(body)

        return handle


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Driver]]:
    server, client = socket.socketpair()
    client.settimeout(20)
    with server, client:
        yield server, Driver(client)


def frame(letter: bytes, body: bytes = b"") -> bytes:
    return letter + struct.pack("!i", len(body) + 4) + body


def rows(count: int) -> list[bytes]:
    return [struct.pack("!hi", 1, 8) + struct.pack("!q", number) for number in range(count)]


READY = frame(b"Z", b"I")


def answer(bodies: list[bytes]) -> bytes:
    return b"".join([frame(b"2"), *(frame(b"D", body) for body in bodies), frame(b"C", b"SELECT\0"), READY])


def send(server: socket.socket, pieces: list[bytes]) -> threading.Thread:
    thread = threading.Thread(target=lambda: [server.sendall(piece) for piece in pieces], daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_the_same_however_the_bytes_arrive(ends: tuple[socket.socket, Driver], seed: int) -> None:
    server, driver = ends
    chance = random.Random(seed)
    bodies = [chance.randbytes(chance.choice((0, 1, 40, 5_000))) for _ in range(chance.randrange(300))]
    whole = answer(bodies) + answer(bodies[:3])
    cuts = sorted(chance.randrange(len(whole)) for _ in range(30))
    reader = FrameReader.install(driver)
    assert reader is not None
    sender = send(server, [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)])

    driver.handle_messages(None)
    first = reader.rows
    driver.handle_messages(None)
    second = reader.rows

    sender.join()
    assert [first.body(n) for n in range(len(first))] == bodies
    assert [second.body(n) for n in range(len(second))] == bodies[:3]
    assert [letter for letter, _ in driver.handled] == [b"2", b"C", b"Z"] * 2


def test_what_the_driver_has_read_ahead_is_not_lost(ends: tuple[socket.socket, Driver]) -> None:
    server, driver = ends
    server.sendall(b"12345" + frame(b"N", b"notice") + answer(rows(2)))
    assert driver._sock.read(5) == b"12345"

    reader = FrameReader.install(driver)

    assert reader is not None
    assert driver._usock.gettimeout() == 20
    reader.read(None)
    assert len(reader.rows) == 2
    assert driver.handled[0] == (b"N", b"notice")


def test_the_servers_error_comes_out_after_the_answer_is_read(ends: tuple[socket.socket, Driver]) -> None:
    server, driver = ends
    server.sendall(frame(b"D", rows(1)[0]) + frame(b"E", b"57014") + READY + answer(rows(1)))
    reader = FrameReader(driver)

    with pytest.raises(ProgrammingError, match="57014"):
        reader.read(None)
    reader.read(None)

    assert len(reader.rows) == 1


def test_a_connection_that_ends_within_a_frame_is_an_error(ends: tuple[socket.socket, Driver]) -> None:
    server, driver = ends
    server.sendall(answer(rows(3))[:-20])
    server.shutdown(socket.SHUT_WR)
    reader = FrameReader(driver)

    with pytest.raises(InterfaceError, match="server socket closed"):
        reader.read(None)

    assert len(reader.rows) == 0


@pytest.mark.parametrize("length", [0, 3, (1 << 30) + 1])
def test_what_is_no_frame_is_an_error(ends: tuple[socket.socket, Driver], length: int) -> None:
    server, driver = ends
    server.sendall(b"D" + struct.pack("!I", length))

    with pytest.raises(InterfaceError, match="not the protocol"):
        FrameReader(driver).read(None)


def test_an_unknown_driver_keeps_its_own_reader(
    ends: tuple[socket.socket, Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redshift_frames, "__version__", "9.9.9")

    assert FrameReader.install(ends[1]) is None
    assert ends[1].handle_messages is None


def test_rows_make_no_objects(ends: tuple[socket.socket, Driver]) -> None:
    server, driver = ends
    blocks = []
    reader = FrameReader(driver)
    for count in (10_000, 20_000):
        sender = send(server, [answer(rows(count))])
        gc.collect()
        before = sys.getallocatedblocks()
        reader.read(None)
        blocks.append(sys.getallocatedblocks() - before)
        sender.join()
        assert len(reader.rows) == count

    assert abs(blocks[1] - blocks[0]) < 100
