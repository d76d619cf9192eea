"""The observer of a process: about once a second it marks in the ledger how far pages have come."""

import asyncio
from typing import Final

from qupersync_extractor.application.observing import LedgerObserver
from qupersync_extractor.bootstrap import Workshop
from qupersync_extractor.infrastructure.jetstream.retention import JetStreamRetention
from qupersync_extractor.infrastructure.postgres.ledger_marks import PostgresLedgerMarks
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.logs import get_logger

LOOK_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 5.0  # after a look that failed: what is away now is seen later, and nothing waits for it

_log = get_logger(__name__)


def observer(shop: Workshop) -> LedgerObserver:
    """What looks at the pages of every pipeline in the outbox database."""
    return LedgerObserver(
        marks=PostgresLedgerMarks(shop.stores.engine),
        board=shop.progress,
        claims=JetStreamRetention(shop.connection),
    )


async def observe(shop: Workshop) -> None:
    """Until cancelled. Database and NATS may be away: what was missed is seen once they are back."""
    looking, failing = observer(shop), False
    while True:
        try:
            await looking.look()
        except Exception as error:  # noqa: BLE001  # a defect here must not end the process
            if not isinstance(error, QupersyncError):
                _log.exception("ledger_not_observed")
            elif not failing:
                _log.info("ledger_not_observed", reason=str(error))
            failing = True
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            failing = False
            await asyncio.sleep(LOOK_SECONDS)
