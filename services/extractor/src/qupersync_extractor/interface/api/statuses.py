"""The status document of a process that lives on: over connections that are there already."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from qupersync_extractor.interface.status import AskSource, extractor_part, source_trouble
from qupersync_extractor.stores import Stores
from qupersync_shared.runtime.cli.document import nats_part
from qupersync_shared.runtime.cli.nats_status import NatsLook
from qupersync_shared.runtime.cli.probing import Probe
from qupersync_shared.runtime.cli.status import gathered
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.plugins import StatusPart
from qupersync_shared.runtime.settings import Configuration

SOURCE_SECONDS: Final = 10.0


class SourcePort:
    """Whether the source can be reached, tried once in ten seconds: it notes every connection."""

    def __init__(self, ask: AskSource = source_trouble, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._asking = asyncio.Lock()
        self._found: tuple[float, str | None] | None = None

    async def trouble(self, configuration: Configuration) -> str | None:
        """Why it cannot; None where it can."""
        async with self._asking:
            now = self._clock()
            if self._found is None or now - self._found[0] > SOURCE_SECONDS:
                self._found = now, await self._ask(configuration)
            return self._found[1]


@dataclass(slots=True, kw_only=True)
class Statuses:
    """Builds what `qupersync status --json` prints, as far as this service knows: targets tell it over NATS."""

    configured: Callable[[], Configuration]
    stores: Stores
    connection: Connection
    source: SourcePort
    _look: NatsLook = field(default_factory=NatsLook)

    async def read(self) -> dict[str, Any]:
        """The document as of now, within little more than three seconds whoever answers or does not."""
        configuration = self.configured()
        pipelines = list(configuration.pipelines)

        async def nats() -> StatusPart:
            return nats_part(pipelines, await self._look.read(await self.connection.client(), pipelines))

        async def extractor() -> StatusPart:
            return await extractor_part(configuration, self.stores, ask_source=self.source.trouble)

        probes = [Probe(name="nats", ask=nats), Probe(name="extractor", ask=extractor)]
        return await gathered(pipelines, probes)
