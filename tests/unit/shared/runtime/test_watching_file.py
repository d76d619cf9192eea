"""A file that is watched: what counts as a change, when it is reported, and what is not."""

import asyncio
import os
import signal
from pathlib import Path

from qupersync_shared.runtime.watching_file import WatchedFile, rung_by_hangup, stamp_of

LOOK = 0.02
PATIENCE = 20.0
QUIET = 0.3  # many looks


async def reported(watched: WatchedFile) -> None:
    await asyncio.wait_for(watched.changed(), PATIENCE)


async def is_quiet(watched: WatchedFile) -> bool:
    try:
        await asyncio.wait_for(watched.changed(), QUIET)
    except TimeoutError:
        return True
    return False


async def test_what_was_written_is_reported_once(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("a", encoding="utf-8")
    watched = WatchedFile(path, look_seconds=LOOK)
    assert await is_quiet(watched)
    path.write_text("ab", encoding="utf-8")
    await reported(watched)
    assert await is_quiet(watched)


async def test_a_file_of_the_same_size_and_time_that_took_its_place_is_another(tmp_path: Path) -> None:
    path, fresh = tmp_path / "one.yaml", tmp_path / "fresh.yaml"
    path.write_text("a", encoding="utf-8")
    fresh.write_text("b", encoding="utf-8")
    told = path.stat()
    os.utime(fresh, ns=(told.st_atime_ns, told.st_mtime_ns))
    watched = WatchedFile(path, look_seconds=LOOK)
    fresh.replace(path)
    await reported(watched)


async def test_links_swapped_as_kubernetes_does_are_seen(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "qupersync.yaml").write_text(version, encoding="utf-8")
    links = tmp_path / "..data"
    links.symlink_to("1")
    path = tmp_path / "qupersync.yaml"
    path.symlink_to("..data/qupersync.yaml")
    watched = WatchedFile(path, look_seconds=LOOK)
    assert await is_quiet(watched)
    swapped = tmp_path / "..data_tmp"
    swapped.symlink_to("2")
    swapped.replace(links)
    await reported(watched)
    assert path.read_text("utf-8") == "2"


async def test_a_file_that_vanished_and_one_that_came_back_are_changes(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("a", encoding="utf-8")
    watched = WatchedFile(path, look_seconds=LOOK)
    path.unlink()
    await reported(watched)
    assert stamp_of(path) is None
    path.write_text("a", encoding="utf-8")
    await reported(watched)


async def test_a_file_that_never_rests_is_reported_now_and_then(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("", encoding="utf-8")
    watched = WatchedFile(path, look_seconds=LOOK)
    written, reports = 0, 0

    async def flap() -> None:
        nonlocal written
        while True:
            written += 1
            path.write_text("x" * written, encoding="utf-8")
            await asyncio.sleep(LOOK / 4)

    flapping = asyncio.create_task(flap())
    try:
        while reports < 2:
            await reported(watched)
            reports += 1
    finally:
        flapping.cancel()
    assert written >= 10 * reports, "it was reported as it changed"
    path.write_text("the end", encoding="utf-8")
    await reported(watched)
    assert await is_quiet(watched)


async def test_ringing_is_enough_and_all_that_counts_where_nobody_looks(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("a", encoding="utf-8")
    watched = WatchedFile(path, look_seconds=None)
    path.write_text("ab", encoding="utf-8")
    assert await is_quiet(watched)
    before = signal.getsignal(signal.SIGHUP)
    with rung_by_hangup(watched):
        os.kill(os.getpid(), signal.SIGHUP)
        await reported(watched)
        assert await is_quiet(watched)
    assert signal.getsignal(signal.SIGHUP) is before
