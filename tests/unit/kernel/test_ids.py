import threading
import time
from uuid import UUID

import pytest

from qupersync_shared.kernel.ids import uuid7


def test_id_has_version_7_and_the_rfc_variant() -> None:
    made = uuid7()

    assert made.version == 7
    assert made.variant == "specified in RFC 4122"


def test_id_begins_with_the_milliseconds_of_its_making() -> None:
    before = time.time_ns() // 1_000_000

    made = [uuid7() for _ in range(3)]

    after = time.time_ns() // 1_000_000
    assert all(before <= (one.int >> 80) <= after + 1 for one in made)


def test_ids_of_one_process_ascend_strictly() -> None:
    made = [uuid7() for _ in range(20_000)]

    assert made == sorted(set(made), key=lambda one: one.int)


def test_ids_ascend_even_when_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = uuid7()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000)

    second = uuid7()

    assert second > first


def test_threads_never_make_the_same_id() -> None:
    made: list[list[UUID]] = [[] for _ in range(4)]

    def make(into: list[UUID]) -> None:
        into.extend(uuid7() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    ids = [one for part in made for one in part]
    assert len(set(ids)) == len(ids)
    assert all(part == sorted(part) for part in made)
