"""The configuration of a process that goes on while its file is edited: pipelines follow it, connections do not."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.logs import describe, get_logger, mask
from qupersync_shared.runtime.settings import Configuration, load
from qupersync_shared.runtime.watching_file import LOOK_SECONDS, WatchedFile, rung_by_hangup

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What is in force after the file was read again, and what of the file is not."""

    in_force: Configuration
    trouble: str | None = None


def renewal(
    in_force: Configuration,
    path: Path,
    *,
    sections: Collection[str],
    check: Callable[[Configuration], object],
    environ: Mapping[str, str] = os.environ,
) -> Renewal:
    """The file's pipelines with the sections as they are in force; a file that is wrong anywhere is refused as a whole.

    `sections` are those that this process uses: a change of them needs a restart, and is a trouble until then. `check`
    raises ConfigurationError for what the process could not work with.
    """
    try:
        wanted = load(path, environ)
        renewed = in_force.model_copy(update={"pipelines": wanted.pipelines})
        check(renewed)
    except ConfigurationError as error:
        said = mask(describe(error.within(str(path))))
        return Renewal(in_force=in_force, trouble=f"its configuration is refused, the one before goes on: {said}")
    changed = [name for name in sections if getattr(wanted, name) != getattr(in_force, name)]
    if not changed:
        return Renewal(in_force=renewed)
    return Renewal(
        in_force=renewed,
        trouble=f"{path} has another {' and '.join(changed)} section, which a running process does not take up: "
        "restart it; until then it goes on with the old one",
    )


class ConfigurationFile:
    """A configuration and the file it came from. ConfigurationError where the file is wrong from the beginning."""

    def __init__(self, path: Path, *, watch: bool = True) -> None:
        # The stamp is taken before the reading: what is changed in between is not missed.
        self._watched = WatchedFile(path, look_seconds=LOOK_SECONDS if watch else None)
        self.path = path
        self.in_force = load(path)

    def heeding_hangups(self) -> AbstractContextManager[None]:
        """While the block lasts, SIGHUP does not end the process, but has the file read as soon as it is followed."""
        return rung_by_hangup(self._watched)

    async def follow(
        self,
        *,
        sections: Collection[str],
        check: Callable[[Configuration], object],
        take: Callable[[Configuration], Awaitable[None]],
        tell: Callable[[str | None], None],
    ) -> None:
        """Until cancelled: each change of the file, or hangup, is taken up before the next one is looked at.

        `take` is given a configuration whose pipelines are others, `tell` what keeps the file from being in force.
        """
        while True:
            await self._watched.changed()
            before = self.in_force
            try:
                found = await asyncio.to_thread(renewal, before, self.path, sections=sections, check=check)
                tell(found.trouble)
                if found.trouble is not None:
                    _log.warning("configuration_not_in_force", path=str(self.path), reason=found.trouble)
                if found.in_force.pipelines != before.pipelines:
                    await take(found.in_force)
                    _log.info("configuration_taken_up", path=str(self.path), **_differences(before, found.in_force))
            except Exception as error:  # noqa: BLE001  # a defect here must not end what goes on
                _log.exception("configuration_not_taken_up", path=str(self.path))
                tell(f"its configuration was not taken up whole (a defect, the log has more): {describe(error)}")
            else:
                self.in_force = found.in_force


def _differences(before: Configuration, after: Configuration) -> dict[str, list[str]]:
    old, new = before.pipelines, after.pipelines
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    }


def still_there(only: Sequence[str], configuration: Configuration) -> Sequence[str]:
    """Of the pipelines that a process was started for, those that are left; ConfigurationError where none is."""
    left = [name for name in only if name in configuration.pipelines]
    if only and not left:
        raise ConfigurationError(
            f"it has none of the pipelines that this process was started for: {', '.join(only)}",
            place="pipelines",
            cure="Write one of them again, or stop the process",
        )
    return left
