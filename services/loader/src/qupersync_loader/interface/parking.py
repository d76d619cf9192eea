"""What the operator's commands for parked content stand on: the target, and a patient way to ask the extractor."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from qupersync_loader.domain.pipeline import DeletePolicy
from qupersync_loader.infrastructure.nats.commands import NatsCommands
from qupersync_loader.infrastructure.postgres.parked import ParkedContent
from qupersync_loader.settings import loader_settings
from qupersync_loader.stores import target_engine
from qupersync_shared.contracts.commands import RereadRequest, SnapshotRequest
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.runtime.cli.waiting import until_accepted
from qupersync_shared.runtime.instance import instance_name
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.quarantine import Unread
from qupersync_shared.runtime.settings import Configuration

_CONNECTIONS: Final = 2
_QUESTION_SECONDS: Final = 2.0
_QUESTIONS_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Parking:
    """Parked content of one loader group; `keeping`: the pipelines that keep what their sources forget."""

    group: GroupName
    keeping: frozenset[str]
    content: ParkedContent
    commands: NatsCommands


@asynccontextmanager
async def opened(configuration: Configuration, group: str | None) -> AsyncIterator[Parking]:
    """The parked content of a loader group, the configuration's if None; connects when first asked."""
    settings = loader_settings(configuration, group=group)
    engine = target_engine(settings, application_name="qupersync-parked", connections=_CONNECTIONS)
    connection = Connection(settings.nats, name=f"qupersync-parked-{instance_name()}")
    try:
        yield Parking(
            group=settings.group,
            keeping=frozenset(one.name for one in settings.pipelines if one.deletes is DeletePolicy.KEEP),
            content=ParkedContent(engine, settings.group),
            commands=NatsCommands(connection),
        )
    finally:
        await connection.close()
        await engine.dispose()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A reread, and what was sent again with it. Not `whole`: each name stands for one of its keys."""

    request: RereadRequest
    names: tuple[str, ...]
    whole: bool


class Redrive:
    """What an operator has read again: asked for until somebody takes it, and asked after for what cannot be read."""

    def __init__(self, commands: NatsCommands) -> None:
        self._commands = commands
        self._asked: list[_Asked] = []
        self._unread: dict[str, Unread] = {}
        self._look_at = 0.0

    async def reread(
        self, request: RereadRequest, names: Sequence[str], *, seconds: float | None, whole: bool = False
    ) -> None:
        """Asks for a reread; StreamUnavailableError if nobody takes it within so many seconds (None: at once)."""
        if not await until_accepted(partial(self._commands.request_reread, request), seconds=seconds):
            raise _nobody_answers()
        self._asked.append(_Asked(request=request, names=tuple(names), whole=whole))

    async def snapshot(self, wish: SnapshotRequest, *, seconds: float | None) -> None:
        """Asks for a snapshot in the same way."""
        if not await until_accepted(partial(self._commands.request_snapshot, wish), seconds=seconds):
            raise _nobody_answers()

    async def unread(self) -> Mapping[str, Unread]:
        """What cannot be read again, as far as the extractor has said by now; it is asked every few seconds."""
        if time.monotonic() < self._look_at:
            return self._unread
        for asked in self._asked[:_QUESTIONS_MAX]:
            reply = await self._commands.standing(asked.request)
            if reply is None:
                break  # nobody is there: the others would be waited for in vain
            self._asked.remove(asked)
            if reply.refused is None:
                self._asked.append(asked)  # behind those whose turn has not come
                continue
            final = asked.whole or reply.keys_refused >= len(asked.names)
            self._unread |= dict.fromkeys(asked.names, Unread(reason=reply.refused, final=final))
        self._look_at = time.monotonic() + _QUESTION_SECONDS
        return self._unread


def _nobody_answers() -> StreamUnavailableError:
    return StreamUnavailableError(
        "no extractor accepted the request: nothing was lost, and what waits goes on waiting",
        cure="Is `qupersync-extractor run` up, and does it know the pipeline? Then run this again",
    )
