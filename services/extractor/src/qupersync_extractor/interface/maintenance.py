"""What a process of this service looks after beside its pipelines: partitions, histories, records of the configured."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from qupersync_extractor.application.control import CONFIGURATION, names_of, note_configured
from qupersync_extractor.bootstrap import Workshop
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.settings import Configuration

PAUSE_SECONDS_MAX: Final = 600.0
REQUESTS_KEPT: Final = timedelta(days=30)  # done rereads and settled rows of the source quarantine

_log = get_logger(__name__)


async def maintain(shop: Workshop, configured: Callable[[], Configuration]) -> None:
    """Until cancelled. A short retention wants short partitions, made and dropped as often."""
    pause = min(PAUSE_SECONDS_MAX, shop.stores.partitions.width.total_seconds())
    while True:
        try:
            await _once(shop, configured())
        except QupersyncError as error:
            _log.warning("maintenance_failed", reason=str(error))
        await asyncio.sleep(pause)


async def note(shop: Workshop, configuration: Configuration) -> None:
    """Records which pipelines are configured; what nobody configures any more is marked as removed."""
    await note_configured(shop.stores.controls, names_of(configuration.pipelines), by=CONFIGURATION)


async def _once(shop: Workshop, configuration: Configuration) -> None:
    await shop.stores.partitions.ensure_ahead()
    dropped = await shop.stores.partitions.drop_published()
    if dropped:
        _log.info("outbox_partitions_dropped", partitions=dropped)
    await note(shop, configuration)
    await shop.stores.runs.forget(older_than=shop.settings.runs_kept)
    await shop.stores.ledger.forget(older_than=shop.settings.ledger_kept)
    await shop.stores.verifications.forget(older_than=shop.settings.runs_kept)
    await shop.stores.actions.forget(older_than=shop.settings.runs_kept)
    await shop.stores.requests.forget()
    await shop.stores.rereads.forget(older_than=REQUESTS_KEPT)
    await shop.stores.withheld.forget(older_than=REQUESTS_KEPT)
