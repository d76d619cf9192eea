"""What the API says of pipelines, and what it is told to do to them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from qupersync_extractor.application.control import REASON_CHARACTERS_MAX, PipelineControl
from qupersync_extractor.application.runs import RunStatus
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.interface.api.parameters import NAME_PATTERN, WORDS

VERSION_MAX = 2**63 - 1
Reason = Annotated[str, StringConstraints(max_length=REASON_CHARACTERS_MAX, pattern=WORDS)]


class Said(BaseModel):
    """An answer, from whatever has these attributes."""

    model_config = ConfigDict(from_attributes=True)


class Told(BaseModel):
    """A request: without fields that nobody knows."""

    model_config = ConfigDict(extra="forbid")


# ------------------------------------------------------------------------------------------------------------- status


class ProbeModel(BaseModel):
    """Whether a part could be asked; `unknown` is never well."""

    verdict: str = Field(examples=["ok"])
    seconds: float
    message: str | None = None


class StatusModel(BaseModel):
    """The document that `qupersync status --json` prints, but for what only the target's own host can see."""

    model_config = ConfigDict(extra="allow")

    as_of: datetime = Field(description="When the document was built.")
    reason: str | None = Field(description="Everything that is wrong, in one line; null where all is well.")
    reasons: list[str]
    pipelines: dict[str, dict[str, Any]] = Field(
        description="Per pipeline: state, reason, lag per hop, extraction, lanes, outbox, stream, schedule, last run …"
    )
    processes: list[dict[str, Any]] = Field(description="Heartbeats of extractors, relays and loaders.")
    probes: dict[str, ProbeModel] = Field(description="What was asked. What a part that failed knows is `unknown`.")


class LagModel(BaseModel):
    """How far each hop is behind; null where nobody can say."""

    model_config = ConfigDict(extra="allow")

    source_seconds: float | None = None
    outbox_records: int | None = None
    outbox_bytes: int | None = None
    stream_events: int | None = None
    freshness_seconds: float | None = Field(default=None, description="How old the target may be.")


class RunModel(Said):
    """One run, by the outbox database's clock."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "0199a1de-7c11-7bc1-9d56-6a0b3a7c52f1",
                    "pipeline": "cost_usage",
                    "mode": "incremental",
                    "cause": "due",
                    "status": "succeeded",
                    "started_at": "2025-01-31T12:00:00Z",
                    "ended_at": "2025-01-31T12:00:04.2Z",
                    "seconds": 4.2,
                    "attempts": 1,
                    "pages": 3,
                    "rows": 104_233,
                    "bytes": 3_120_400,
                    "error": None,
                    "trace_id": None,
                    "log": 1,
                    "first_sequence": 41,
                    "last_sequence": 43,
                }
            ]
        },
    )

    id: UUID
    pipeline: str
    mode: str
    cause: str
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None = None
    seconds: float | None = Field(default=None, description="How long it took; null while it works.")
    attempts: int = Field(default=1, description="More where it failed again and again before its first page.")
    pages: int
    rows: int
    bytes: int
    error: str | None = None
    trace_id: str | None = None
    log: int | None = None
    first_sequence: int | None = None
    last_sequence: int | None = None


class ControlModel(Said):
    """What people decided of a pipeline; `version` grows with each decision."""

    pipeline: str
    paused: bool
    reason: str | None = None
    version: int
    updated_at: datetime
    updated_by: str


class JobModel(BaseModel):
    """A pipeline at a glance."""

    id: str = Field(description="The pipeline's name.", examples=["cost_usage"])
    state: str = Field(description="live, snapshotting, lagging, paused, degraded, stalled … or unknown.")
    reason: str | None = None
    notices: list[str] = []
    control: ControlModel | None = Field(default=None, description="Null before its first run, or where nobody knows.")
    schedule: dict[str, Any] | None = Field(default=None, description="When it runs: its words, and the next run.")
    last_run: RunModel | None = None
    lag: LagModel
    lanes: int
    ledger: dict[str, Any] | None = Field(default=None, description="Where its pages are, with a sentence.")


class JobsModel(BaseModel):
    """All configured pipelines."""

    as_of: datetime
    jobs: list[JobModel]


# ------------------------------------------------------------------------------------------------------------ actions


class TriggerRequest(Told):
    """What to run: one pipeline or all, in a mode or as is due."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"job_id": "cost_usage"}, {"mode": "snapshot"}, {}]}
    )

    job_id: Annotated[str, StringConstraints(pattern=NAME_PATTERN)] | None = Field(
        default=None, description="The pipeline; all of them if left out."
    )
    mode: ForcedMode | None = Field(default=None, description="Force this mode; else what is due.")


class TriggerAnswer(BaseModel):
    """What was asked for. `waiting` are those that are paused: they run when they are resumed."""

    requested: list[str]
    mode: ForcedMode | None = None
    waiting: list[str] = []


class DecisionRequest(Told):
    """Why, and only if nobody has decided anything since `version`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "the warehouse is being resized", "version": 3}, {}]}
    )

    reason: Reason | None = Field(default=None, description="Why; status and history show it.")
    version: int | None = Field(
        default=None, ge=0, le=VERSION_MAX, description="The version that was looked at; `If-Match` says the same."
    )


class ResetAnswer(BaseModel):
    """The pipeline begins anew."""

    pipeline: str
    log: int = Field(description="The log that begins.")
    lanes: int
    version: int | None = None


class PurgeAnswer(BaseModel):
    """How many of each kind were removed."""

    removed: dict[str, int] = Field(examples=[{"runs": 1200, "pages": 58_000, "actions": 12}])


class ActionModel(Said):
    """What somebody did; `pipeline` null where it concerned all."""

    id: UUID
    action: str = Field(examples=["pause"])
    by: str
    at: datetime
    pipeline: str | None = None
    reason: str | None = None
    details: dict[str, Any] = {}


# -------------------------------------------------------------------------------------------------------------- pages


class RunsPage(BaseModel):
    """Some runs of a list; `next_cursor` goes on behind them, null when nothing follows."""

    items: list[RunModel]
    next_cursor: str | None = None


class ActionsPage(BaseModel):
    """Some actions of a list; `next_cursor` as everywhere."""

    items: list[ActionModel]
    next_cursor: str | None = None


class PageModel(Said):
    """One page of the source, and how far it has come."""

    pipeline: str
    log: int
    sequence: int
    state: str = Field(examples=["applied"])
    run: UUID | None = None
    mode: str
    rows: int
    bytes: int
    extracted_at: datetime
    published_at: datetime | None = None
    publish_seconds: float | None = None
    applied: dict[str, datetime] = Field(default={}, description="Per loader group, when it had applied the page.")
    apply_seconds: dict[str, float] = {}
    waits_for: list[str] = Field(default=[], description="Loader groups that have not applied it.")


class LedgerPages(BaseModel):
    """Some pages of the ledger; `next_cursor` as everywhere."""

    items: list[PageModel]
    next_cursor: str | None = None


class ReachedModel(Said):
    """A page, and when a hop had it."""

    log: int
    sequence: int
    at: datetime | None = None


class WaitingModel(Said):
    """The oldest page that is not applied everywhere, and the hop that it waits for."""

    log: int
    sequence: int
    hop: str = Field(examples=["applied"])
    groups: list[str] = []
    since: datetime | None = None


class WhereaboutsModel(Said):
    """Is it in sync, and if not, where is it?"""

    pipeline: str
    as_of: datetime
    in_sync: bool
    sentence: str = Field(examples=["in sync: all 1,234 pages of log 2 are applied by main"])
    extracted: ReachedModel | None = None
    published: ReachedModel | None = None
    applied: dict[str, ReachedModel] = {}
    pages_waiting: int = 0
    waiting: WaitingModel | None = None


def control_of(control: PipelineControl) -> ControlModel:
    """The record as the API says it."""
    return ControlModel.model_validate(control)


def job_of(name: str, entry: Mapping[str, Any]) -> JobModel:
    """A pipeline's entry of the status document, at a glance."""
    control = entry.get("control")
    return JobModel(
        id=name,
        state=entry["state"],
        reason=entry["reason"],
        notices=list(entry.get("notices") or ()),
        control=None if control is None else ControlModel(pipeline=name, **control),
        schedule=entry.get("schedule"),
        last_run=None if entry.get("last_run") is None else RunModel(**entry["last_run"]),
        lag=LagModel(**entry["lag"]),
        lanes=len(entry["lanes"]),
        ledger=entry.get("ledger"),
    )
