"""The end of what is too old to matter: of runs, of the ledger's pages, and of what people did."""

from datetime import timedelta
from typing import Final

from qupersync_extractor.application.actions import ActionKind, Actions
from qupersync_extractor.application.ledger import Ledger
from qupersync_extractor.application.runs import Runs
from qupersync_shared.kernel.errors import QupersyncError

AGE_MAX: Final = timedelta(days=36_500)


async def purge_history(
    *, runs: Runs, ledger: Ledger, actions: Actions, older_than: timedelta, by: str
) -> dict[str, int]:
    """Removes what is older; how many runs, pages and actions. Who did it, and when, is recorded.

    Runs under way stay, and so do pages that a loader group has yet to apply.
    """
    if older_than < timedelta(0):
        raise QupersyncError("an age is not negative", cure="Write how many days of the history are to stay")
    age = min(older_than, AGE_MAX)
    removed = {
        "runs": await runs.forget(older_than=age),
        "pages": await ledger.forget(older_than=age),
        "actions": await actions.forget(older_than=age),
    }
    details = {"older_than_seconds": int(age.total_seconds()), "removed": removed}
    await actions.record(ActionKind.PURGE, by=by, details=details)
    return removed
