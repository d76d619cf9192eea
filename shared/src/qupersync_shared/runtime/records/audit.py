"""Who changed a record and when, and which version of it: what every record that people change carries."""

import getpass
import platform
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from qupersync_shared.kernel.errors import ConflictError

NAME_CHARACTERS_MAX: Final = 200


class StaleVersionError(ConflictError):
    """Somebody else has changed the record since it was looked at."""


@dataclass(kw_only=True)
class Audit:
    """The part of a record that says who and when. `version` grows by one with every change; moments are the
    database's.
    """

    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    deleted_at: datetime | None = None
    deleted_by: str | None = None

    @property
    def deleted(self) -> bool:
        """Whether the record is of something that is gone; it stays readable."""
        return self.deleted_at is not None

    def expect(self, version: int | None, *, what: str) -> None:
        """StaleVersionError unless the record still is at this version; None accepts any."""
        if version is not None and version != self.version:
            raise StaleVersionError(
                f"{what} is at version {self.version}, not {version}: {self.updated_by} changed it at "
                f"{self.updated_at:%Y-%m-%d %H:%M:%S} UTC",
                cure="Look at it again, then decide again",
            )


def whoever(name: str | None = None) -> str:
    """The person to be written down: `name` where one was given, else this user of this machine."""
    if name is None:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container's user may have no name
            user = "unknown"
        name = f"{user}@{platform.node() or 'localhost'}"
    return " ".join(name.split())[:NAME_CHARACTERS_MAX] or "unknown"
