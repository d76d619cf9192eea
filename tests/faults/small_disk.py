"""A small disk of the test's own: a tmpfs in a mount namespace, which vanishes with the process that holds it.

As root the namespace is a plain one, else it comes with a user namespace in which we are ourselves. Whoever is to use
the disk is started by `launcher`.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from qupersync_local.postgres import LocalPostgres
from qupersync_local.postgres_binaries import postgres_binaries
from qupersync_local.supervise import WorkDirectory

_READY = b"ready\n"
# What the kernel, or a container around us, says where mount namespaces are not for us.
_REFUSALS = ("not permitted", "denied", "No space left on device", "not implemented")


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """`path` as its users see it, `seen` as we do, who are not inside."""

    path: Path
    seen: Path
    launcher: tuple[str, ...]

    @classmethod
    @asynccontextmanager
    async def mounted(cls, path: Path, size_bytes: int) -> AsyncIterator["SmallDisk"]:
        """A disk of this size on an empty directory, with its owner; skips the test where the system refuses one."""
        for tool in ("unshare", "nsenter", "mount", "setpriv"):
            if shutil.which(tool) is None:
                pytest.skip(f"there is no {tool} here to make a small disk with")
        root = os.geteuid() == 0
        namespaces = ("--mount",) if root else ("--user", "--map-current-user", "--keep-caps", "--mount")
        owner = await asyncio.to_thread(path.stat)
        options = f"size={size_bytes},mode=700,uid={owner.st_uid},gid={owner.st_gid}"
        script = f'mount -t tmpfs -o {options} none "$1" && echo ready && exec cat'  # it ends with our end of the pipe
        holder = await asyncio.create_subprocess_exec(
            *("unshare", *namespaces, "sh", "-c", script, "sh", str(path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            assert holder.stderr is not None
            if await holder.stdout.readline() != _READY:
                said = (await holder.stderr.read()).decode().strip()
                assert any(words in said for words in _REFUSALS), said  # whatever else goes wrong is a defect of ours
                pytest.skip(f"this system lets us have no small disk: {said}")
            enter = ("--mount",) if root else ("--user", "--preserve-credentials", "--mount")
            launcher = ("nsenter", f"--target={holder.pid}", *enter)
            yield cls(path, Path(f"/proc/{holder.pid}/root{path}"), launcher)
        finally:
            with contextlib.suppress(ProcessLookupError):
                holder.kill()
            await holder.wait()

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.seen).free

    def fill(self, *, leave_bytes: int) -> None:
        """Somebody else's file takes all room but this."""
        with (self.seen / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.free_bytes() - leave_bytes)

    def clear(self) -> None:
        """The file is gone."""
        (self.seen / "filler").unlink()


@asynccontextmanager
async def server_on_small_disk(database: str, disk_bytes: int) -> AsyncIterator[tuple[LocalPostgres, SmallDisk]]:
    """A server whose `database` lies on a disk of its own; the write-ahead log does not."""
    work = WorkDirectory.create()
    try:
        place = work.path / "disk"
        place.mkdir(mode=0o700)
        account = (await postgres_binaries()).account
        if account is not None:
            os.chown(place, account.uid, account.gid)
        async with (
            SmallDisk.mounted(place, disk_bytes) as disk,
            LocalPostgres.start(work=work, name=database, fast=True, launcher=disk.launcher) as server,
        ):
            await server.execute(f"CREATE TABLESPACE small LOCATION '{disk.path}'")
            await server.execute(f"CREATE DATABASE {database} TABLESPACE small TEMPLATE template0")
            yield server, disk
    finally:
        work.close()
