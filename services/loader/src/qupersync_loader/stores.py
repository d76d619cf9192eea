"""The target database, for whoever works on it: processes and commands."""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_loader.settings import LoaderSettings
from qupersync_shared.runtime.database import create_engine

_ONLOOKERS: Final = 2  # connections beside the slots: for the heartbeat's look, and one to spare
_IDLE_SECONDS_MAX: Final = 20.0
_IDLE_SHARE_OF_ACK_WAIT: Final = 1 / 3


def target_engine(settings: LoaderSettings, *, application_name: str, connections: int | None = None) -> AsyncEngine:
    """The target's engine; a session frozen inside a transaction is ended well before its lane is handed on."""
    return create_engine(
        settings.target_dsn,
        name="target",
        application_name=application_name,
        connections=connections or settings.slots + _ONLOOKERS,
        idle_in_transaction_seconds=min(_IDLE_SECONDS_MAX, settings.ack_wait_seconds * _IDLE_SHARE_OF_ACK_WAIT),
    )
