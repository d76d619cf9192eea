"""How one loader process stands: what probes and metrics tell of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from qupersync_loader.application.ports import PipelineState
from qupersync_loader.application.rotation import LaneRef
from qupersync_loader.application.serve import Tally
from qupersync_shared.kernel.ids import GroupName, PipelineName

# Longer than any statement may take; only a batch that is halved a hundred times over comes near.
STUCK_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the process has done since it started, the lanes it goes round, and the group's pipelines at the target.

    `states` None: the target did not answer when it was last looked at. `slowest`: the lane that a slot has been at for
    longest without anything moving there, and for how many seconds.
    """

    group: GroupName
    tally: Tally
    lanes: Mapping[PipelineName, int]
    served: tuple[PipelineName, ...]
    states: Mapping[PipelineName, PipelineState] | None
    slowest: tuple[LaneRef, float] | None = None

    @property
    def stuck(self) -> str | None:
        """Why the process does not get on; None while it does, or has nothing to do."""
        if self.slowest is None or self.slowest[1] < STUCK_SECONDS:
            return None
        (pipeline, lane), seconds = self.slowest
        return f"nothing has moved at lane {lane} of {pipeline.name} for {seconds:.0f} s"
