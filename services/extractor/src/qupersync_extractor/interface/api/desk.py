"""What the routes work with: use cases, listings and the board, as one process has them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from qupersync_extractor.application.actions import Actions
from qupersync_extractor.application.control import ControlWorkFactory
from qupersync_extractor.application.idempotency import Requests
from qupersync_extractor.application.ledger import Ledger
from qupersync_extractor.application.operations import Operations
from qupersync_extractor.application.parked import ParkedOperations, Rebuilds, WhereParked
from qupersync_extractor.application.runs import Runs
from qupersync_extractor.interface.api.board import StatusBoard
from qupersync_extractor.interface.api.problems import unknown_pipeline
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.settings import Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The parts behind the routes; `configured` is the configuration that is in force at this moment."""

    configured: Callable[[], Configuration]
    board: StatusBoard
    operations: Operations
    controls: ControlWorkFactory
    requests: Requests
    runs: Runs
    actions: Actions
    ledger: Ledger
    parked: ParkedOperations
    where_parked: WhereParked
    rebuilds: Rebuilds

    def known(self, name: str) -> PipelineName:
        """The pipeline, which is configured; else a ProblemError that names those that are."""
        pipelines = self.configured().pipelines
        if name not in pipelines:
            raise unknown_pipeline(name, list(pipelines))
        return PipelineName(name)


def _desk(request: Request) -> Desk:
    found: Desk = request.app.state.desk
    return found


TheDesk = Annotated[Desk, Depends(_desk)]
