"""What all who look at the page share: each status document is looked at once, and what it says is remembered."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import Depends, Request

from qupersync_extractor.application.actions import Action
from qupersync_extractor.interface.api.desk import Desk
from qupersync_extractor.interface.page.described import describe_pipelines, describe_source, source_kind
from qupersync_extractor.interface.page.overview import Seen
from qupersync_extractor.interface.page.rates import PAGES_MAX, WINDOW_SECONDS, Flow, rows_per_second
from qupersync_extractor.interface.page.rebuilds import GroupRebuilds, groups_of, rebuilds_of
from qupersync_extractor.interface.page.series import Series
from qupersync_extractor.interface.page.words import read_moment
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.records import Query

ASK_SECONDS_MAX: Final = 2.0
REBUILDS_SECONDS: Final = 10.0
_ACTIONS_SHOWN: Final = 8

_log = get_logger(__name__)


@dataclass(slots=True)
class Watch:
    """The last look, and the rings and rates that come of many. Costs nothing while nobody looks."""

    desk: Desk
    series: Series = field(default_factory=Series)
    flow: Flow = field(default_factory=Flow)
    actions: tuple[Action, ...] | None = None
    rebuilds: tuple[GroupRebuilds, ...] = ()
    _rebuilds_asked: float = float("-inf")
    _seen: Seen | None = None
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self) -> Seen:
        """What is known now; what the database does not tell within two seconds stays unknown."""
        document = (await self.desk.board.look()).document
        async with self._looking:
            now = datetime.now(UTC)
            if self._seen is not None and self._seen.document is document:
                return replace(self._seen, now=now)
            as_of = read_moment(document.get("as_of")) or now
            rates, _ = await asyncio.gather(self._rates(as_of), self._look_at_rebuilds(groups_of(document)))
            self.flow.see(document)
            self.series.see(document, rates or {})
            configuration = self.desk.configured()
            self._seen = Seen(
                document=document,
                described=describe_pipelines(configuration),
                source_kind=source_kind(configuration),
                source_address=describe_source(configuration),
                now=now,
                rates=rates,
                series=self.series,
                flow=self.flow,
            )
            return self._seen

    async def _look_at_rebuilds(self, groups: Sequence[GroupName]) -> None:
        """Asks the loaders every ten seconds; those that do not answer in time are unknown."""
        if time.monotonic() - self._rebuilds_asked < REBUILDS_SECONDS:
            return
        self._rebuilds_asked = time.monotonic()
        try:
            async with asyncio.timeout(ASK_SECONDS_MAX):
                self.rebuilds = await rebuilds_of(self.desk.rebuilds, groups)
        except TimeoutError:
            trouble = f"no answer within {ASK_SECONDS_MAX:g} s"
            self.rebuilds = tuple(GroupRebuilds(group=group, shadows=(), trouble=trouble) for group in groups)

    async def _rates(self, as_of: datetime) -> dict[str, float] | None:
        since = as_of - timedelta(seconds=WINDOW_SECONDS)
        try:
            async with asyncio.timeout(ASK_SECONDS_MAX):
                pages = await self.desk.ledger.pages(Query(filters={"since": since}, limit=PAGES_MAX))
                deeds = await self.desk.actions.page(Query(limit=_ACTIONS_SHOWN))
        except (QupersyncError, TimeoutError) as error:
            _log.debug("page_without_rates", error=str(error))
            self.actions = None
            return None
        self.actions = deeds.items
        return rows_per_second(pages.items, as_of)


def watch(request: Request) -> Watch:
    """The application's watch, which begins with the first who looks."""
    found: Watch | None = getattr(request.app.state, "watch", None)
    if found is None:
        found = request.app.state.watch = Watch(desk=request.app.state.desk)
    return found


TheWatch = Annotated[Watch, Depends(watch)]
