"""The envelope of a batch event: CloudEvents 1.0 in binary content mode, as NATS headers."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Literal, Self
from urllib.parse import quote, unquote
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from qupersync_shared.kernel.errors import EventRefusedError
from qupersync_shared.kernel.positions import (
    Key,
    Position,
    decode_key,
    decode_keys,
    decode_position,
    encode_key,
    encode_keys,
    encode_position,
)

CONTENT_TYPE: Final = "application/vnd.apache.arrow.stream"
EVENT_TYPE: Final = "qupersync.batch.v1"
EVENT_VERSION: Final = 1
GENERATION_HEADER: Final = "ce-generation"
_PRINTABLE: Final = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"%')


class Mode(StrEnum):
    """What a page says: rows now so, the complete content of a key range, or rows now so and keys gone."""

    INCREMENTAL = "incremental"
    SNAPSHOT = "snapshot"
    REREAD = "reread"


class BatchEnvelope(BaseModel):
    """Everything a loader must know of a batch before it decodes the body.

    A snapshot page covers the keys in (range_from, range_to]; None is minus or plus infinity, and stands exactly on the
    first and the last page. `honest_time`: every change committed at the source before it is in this or earlier events
    of the lane (deletes: by the last snapshot). `previous_id` is the id of the lane's event before this one.
    An incremental page was read by cursor in (after, position]; None is the beginning. A reread page says the complete
    content of its key range if `range_complete`; `redrives` are dead letters that it makes good.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    id: UUID
    source: str
    subject: str
    time: AwareDatetime
    traceparent: str | None = None
    pipeline: str
    lane: int = Field(ge=0)
    lanes: int = Field(ge=1, le=4096)
    log: int = Field(ge=1)
    sequence: int = Field(ge=1)
    previous_id: UUID | None = None
    generation: int = Field(default=0, ge=0)
    mode: Mode
    snapshot_id: UUID | None = None
    snapshot_first: bool = False
    snapshot_last: bool = False
    row_count: int = Field(ge=0)
    key_columns: tuple[str, ...] = Field(min_length=1)
    range_from: Key | None = None
    range_to: Key | None = None
    range_complete: bool = False
    withheld_keys: tuple[Key, ...] = ()
    after: Position | None = None
    position: Position | None = None
    redrives: tuple[UUID, ...] = ()
    honest_time: AwareDatetime | None = None
    schema_fingerprint: str
    checksum: str
    correlation_id: UUID
    causation_id: UUID | None = None
    type: Literal["qupersync.batch.v1"] = EVENT_TYPE

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.lane >= self.lanes:
            raise ValueError(f"lane {self.lane} of {self.lanes} lanes")
        if (self.mode is Mode.SNAPSHOT) != (self.snapshot_id is not None):
            raise ValueError("a snapshot id stands on snapshot pages, and only there")
        if self.mode is not Mode.SNAPSHOT and (self.snapshot_first or self.snapshot_last):
            raise ValueError("only a snapshot has a first and a last page")
        if self.mode is not Mode.SNAPSHOT and self.range_complete is False and (self.range_from or self.range_to):
            raise ValueError("only a page that says the complete content of a key range has one")
        if self.range_complete and self.mode is not Mode.REREAD:
            raise ValueError("a snapshot page says the complete content of its range anyway, an incremental page never")
        if self.redrives and self.mode is not Mode.REREAD:
            raise ValueError("only a reread makes dead letters good")
        if self.mode is Mode.SNAPSHOT and (self.snapshot_first != (self.range_from is None)):
            raise ValueError("the first page of a snapshot, and only it, reaches down to minus infinity")
        if self.mode is Mode.SNAPSHOT and (self.snapshot_last != (self.range_to is None)):
            raise ValueError("the last page of a snapshot, and only it, reaches up to plus infinity")
        return self

    @property
    def is_baseline(self) -> bool:
        """Whether a lane may begin here."""
        return self.mode is Mode.SNAPSHOT and self.snapshot_first

    @property
    def covers_range(self) -> bool:
        """Whether the page says the complete content of (range_from, range_to] for its lane."""
        return self.mode is Mode.SNAPSHOT or self.range_complete

    def headers(self) -> dict[str, str]:
        """The NATS headers, in a fixed order; absent attributes have no header. Values are percent-encoded ASCII."""
        fields: dict[str, str | None] = {
            "ce-specversion": "1.0",
            "ce-id": str(self.id),
            "ce-type": self.type,
            "ce-source": self.source,
            "ce-subject": self.subject,
            "ce-time": _time(self.time),
            "content-type": CONTENT_TYPE,
            "traceparent": self.traceparent,
            "ce-pipeline": self.pipeline,
            "ce-lane": str(self.lane),
            "ce-lanes": str(self.lanes),
            "ce-log": str(self.log),
            "ce-sequence": str(self.sequence),
            "ce-previousid": str(self.previous_id) if self.previous_id else None,
            GENERATION_HEADER: str(self.generation),
            "ce-mode": self.mode.value,
            "ce-snapshotid": str(self.snapshot_id) if self.snapshot_id else None,
            "ce-snapshotfirst": "true" if self.snapshot_first else None,
            "ce-snapshotlast": "true" if self.snapshot_last else None,
            "ce-rowcount": str(self.row_count),
            "ce-keycolumns": ",".join(quote(name, safe="") for name in self.key_columns),
            "ce-rangefrom": encode_key(self.range_from) if self.range_from is not None else None,
            "ce-rangeto": encode_key(self.range_to) if self.range_to is not None else None,
            "ce-rangecomplete": "true" if self.range_complete else None,
            "ce-withheldkeys": encode_keys(self.withheld_keys) if self.withheld_keys else None,
            "ce-after": encode_position(self.after) if self.after else None,
            "ce-position": encode_position(self.position) if self.position else None,
            "ce-redrives": ",".join(str(one) for one in self.redrives) or None,
            "ce-honesttime": _time(self.honest_time) if self.honest_time else None,
            "ce-schemafingerprint": self.schema_fingerprint,
            "ce-checksum": self.checksum,
            "ce-correlationid": str(self.correlation_id),
            "ce-causationid": str(self.causation_id) if self.causation_id else None,
        }
        return {
            name: value if name == "ce-keycolumns" else quote(value, safe=_PRINTABLE)
            for name, value in fields.items()
            if value is not None
        }

    @classmethod
    def from_headers(cls, headers: dict[str, str] | None) -> "BatchEnvelope":
        """The envelope that `headers` wrote; EventRefusedError, naming the attribute, for anything else."""
        given = {name.lower(): value for name, value in (headers or {}).items()}
        if unquote(given.get("ce-type", "")) != EVENT_TYPE:
            raise EventRefusedError(f"not a {EVENT_TYPE} event: ce-type is {given.get('ce-type', 'absent')}")
        if given.get("ce-specversion") != "1.0":
            raise EventRefusedError(f"ce-specversion is {given.get('ce-specversion', 'absent')}, not 1.0")
        try:
            return cls.model_validate(_fields(given))
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            raise EventRefusedError(f"the envelope is malformed: {_first_problem(error)}") from error


def _fields(given: dict[str, str]) -> dict[str, Any]:
    def text(name: str) -> str | None:
        value = given.get(name)
        return None if value is None else unquote(value)

    def decoded(name: str, decode: Any, default: Any = None) -> Any:
        value = text(name)
        try:
            return default if value is None else decode(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    return {
        "id": text("ce-id"),
        "source": text("ce-source"),
        "subject": text("ce-subject"),
        "time": text("ce-time"),
        "traceparent": text("traceparent"),
        "pipeline": text("ce-pipeline"),
        "lane": text("ce-lane"),
        "lanes": text("ce-lanes"),
        "log": text("ce-log"),
        "sequence": text("ce-sequence"),
        "previous_id": text("ce-previousid"),
        "generation": given.get(GENERATION_HEADER, "0"),
        "mode": text("ce-mode"),
        "snapshot_id": text("ce-snapshotid"),
        "snapshot_first": given.get("ce-snapshotfirst") == "true",
        "snapshot_last": given.get("ce-snapshotlast") == "true",
        "row_count": text("ce-rowcount"),
        "key_columns": tuple(unquote(part) for part in given.get("ce-keycolumns", "").split(",") if part),
        "range_from": decoded("ce-rangefrom", decode_key),
        "range_to": decoded("ce-rangeto", decode_key),
        "range_complete": given.get("ce-rangecomplete") == "true",
        "withheld_keys": decoded("ce-withheldkeys", decode_keys, ()),
        "after": decoded("ce-after", decode_position),
        "position": decoded("ce-position", decode_position),
        "redrives": tuple(part for part in (text("ce-redrives") or "").split(",") if part),
        "honest_time": text("ce-honesttime"),
        "schema_fingerprint": text("ce-schemafingerprint"),
        "checksum": text("ce-checksum"),
        "correlation_id": text("ce-correlationid"),
        "causation_id": text("ce-causationid"),
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _first_problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'envelope'}: {first['msg']}"
    return str(error)
