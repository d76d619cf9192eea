"""What a pipeline is to the loader: its target table and the policies of its owner."""

from dataclasses import dataclass
from enum import StrEnum

from qupersync_shared.kernel.ids import GroupName, PipelineName


class DeletePolicy(StrEnum):
    """What becomes of rows that a snapshot's range no longer has: removed, marked in `_qs_deleted_at`, or kept."""

    APPLY = "apply"
    SOFT = "soft"
    KEEP = "keep"


class OnBadRow(StrEnum):
    """What a row that the target refuses does: it is quarantined while the rest loads, or it holds its lane."""

    QUARANTINE = "quarantine"
    HALT = "halt"


class OnTerminal(StrEnum):
    """What an event that cannot be decoded does: it is parked and the lane goes on, or it holds its lane."""

    PARK = "park"
    HALT = "halt"


class SchemaPolicy(StrEnum):
    """Whether the loader may add and widen columns of the target table."""

    EVOLVE = "evolve"
    FREEZE = "freeze"


class Adopt(StrEnum):
    """What becomes of rows that a target table had before us: left alone for ever, or removed by snapshots."""

    KEEP = "keep"
    REPLACE = "replace"


class NulBytes(StrEnum):
    """What becomes of a text with NUL bytes, which PostgreSQL cannot hold: its row is refused, or they are taken out
    and counted. In a key they are always refused.
    """

    QUARANTINE = "quarantine"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPipeline:
    """One pipeline of a loader group. `lanes` is what the configuration says; a log may have another number."""

    group: GroupName
    name: PipelineName
    schema: str
    table: str
    lanes: int
    deletes: DeletePolicy = DeletePolicy.APPLY
    on_bad_row: OnBadRow = OnBadRow.QUARANTINE
    on_terminal: OnTerminal = OnTerminal.PARK
    schema_policy: SchemaPolicy = SchemaPolicy.EVOLVE
    adopt: Adopt | None = None
    nul_bytes: NulBytes = NulBytes.QUARANTINE

    def __post_init__(self) -> None:
        if self.lanes < 1:
            raise ValueError("a pipeline has at least one lane")

    @property
    def target(self) -> str:
        """The target table as the configuration writes it."""
        return f"{self.schema}.{self.table}"
