"""The model of `qupersync.yaml`. Every default stands here and nowhere else."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

from qupersync_shared.contracts.schema import IDENTIFIER_BYTES_MAX
from qupersync_shared.contracts.subjects import check_name
from qupersync_shared.runtime.settings.units import Duration, Size


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)


class RedshiftSource(Section):
    """A Redshift cluster or workgroup, read through redshift-connector."""

    kind: Literal["redshift"]
    host: str
    port: int = Field(default=5439, ge=1, le=65535)
    database: str
    user: str
    password: SecretStr | None = None
    password_file: Path | None = None
    sslmode: Literal["verify-full", "verify-ca", "disable"] = "verify-full"
    connections: int = Field(default=4, ge=1, le=100)
    connect_timeout: Duration = timedelta(seconds=60)
    statement_timeout: Duration = timedelta(minutes=15)
    query_group: str = "qupersync"


class DuckDbSource(Section):
    """A DuckDB file, opened read-only."""

    kind: Literal["duckdb"]
    path: Path


class DatabaseSection(Section):
    """A PostgreSQL database; the password may stand apart from the DSN."""

    dsn: SecretStr | None = None
    dsn_file: Path | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    connections: int = Field(default=8, ge=2, le=200)


class OutboxSection(DatabaseSection):
    retention: Duration = timedelta(hours=72)
    high_water_bytes: Size = Field(default=2 << 30, ge=1 << 20)
    high_water_age: Duration = timedelta(hours=6)


class NatsSection(Section):
    servers: list[str] = Field(min_length=1)
    user: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    replicas: int = Field(default=1, ge=1, le=5)
    stream_bytes_max: Size = Field(default=4 << 30, ge=1 << 20)


class ExtractorSection(Section):
    lease: Duration = timedelta(seconds=30)
    event_bytes_max: Size = Field(default=900_000, ge=16_384)
    page_bytes_max: Size = Field(default=64 << 20, ge=1 << 20)


class LoaderSection(Section):
    group: Annotated[str, BeforeValidator(lambda v: check_name(v) if isinstance(v, str) else v)] = "main"
    connections: int = Field(default=8, ge=1, le=100)
    ack_wait: Duration = timedelta(seconds=60)


class Schedule(Section):
    """When a pipeline runs; exactly one of the three. `continuous` runs again as soon as it has ended, once a second."""

    every: Duration | None = None
    cron: str | None = None
    continuous: bool = False

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return {"continuous": True} if value == "continuous" else value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum((self.every is not None, self.cron is not None, self.continuous)) != 1:
            raise ValueError('write one of {every: 15m}, {cron: "*/5 * * * *"} and continuous')
        if self.every is not None and self.every < timedelta(seconds=1):
            raise ValueError("every must be at least 1s")
        return self


class PipelineSection(Section):
    """One source table or query and its target table."""

    from_: str | None = Field(default=None, alias="from")
    query: str | None = None
    into: str
    key: list[str] = Field(min_length=1)
    cursor: str | None = None
    cursor_time_zone: str = "UTC"
    lookback: Duration = timedelta(minutes=10)
    lookback_units: int = Field(default=0, ge=0)
    safety_lag: Duration = timedelta(seconds=30)
    page_rows: int = Field(default=40_000, ge=1, le=1_000_000)
    lanes: int = Field(default=4, ge=1, le=256)
    schedule: Schedule = Schedule(every=timedelta(minutes=15))
    snapshot_every: Duration | None = timedelta(hours=24)
    deletes: Literal["apply", "soft", "keep"] = "apply"
    on_bad_row: Literal["quarantine", "halt"] = "quarantine"
    on_terminal: Literal["park", "halt"] = "park"
    schema_policy: Literal["evolve", "freeze"] = Field(default="evolve", alias="schema")
    adopt: Literal["keep", "replace"] | None = None

    @field_validator("from_", "into")
    @classmethod
    def _table(cls, value: str | None) -> str | None:
        if value is not None:
            split_table(value)
        return value

    @field_validator("key")
    @classmethod
    def _key(cls, value: list[str]) -> list[str]:
        for name in value:
            check_identifier(name)
        if len(set(value)) != len(value):
            raise ValueError("a key column stands twice")
        return value

    @field_validator("cursor")
    @classmethod
    def _cursor(cls, value: str | None) -> str | None:
        return None if value is None else check_identifier(value)

    @field_validator("cursor_time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is not a time zone: write for instance UTC or Europe/Berlin") from error
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.from_ is None) == (self.query is None):
            raise ValueError("write either `from: schema.table` or `query: SELECT …`")
        return self


class Configuration(Section):
    """The whole file. Sections that only one service needs may be absent where the other one runs."""

    source: Annotated[RedshiftSource | DuckDbSource, Field(discriminator="kind")] | None = None
    outbox: OutboxSection | None = None
    nats: NatsSection | None = None
    target: DatabaseSection | None = None
    extractor: ExtractorSection = ExtractorSection()
    loader: LoaderSection = LoaderSection()
    pipelines: dict[str, PipelineSection] = {}

    @field_validator("pipelines")
    @classmethod
    def _names(cls, value: dict[str, PipelineSection]) -> dict[str, PipelineSection]:
        for name in value:
            check_name(name)
        owners: dict[tuple[str, str], str] = {}
        for name, pipeline in value.items():
            other = owners.setdefault(split_table(pipeline.into), name)
            if other != name:
                raise ValueError(f"{name} and {other} both write into {pipeline.into}: a target table has one owner")
        return value


def split_table(name: str) -> tuple[str, str]:
    """`schema.table` as a pair; ValueError unless it is two identifiers of at most 63 bytes."""
    parts = name.split(".")
    if len(parts) != 2:  # noqa: PLR2004  # schema and table
        raise ValueError(f"{name!r} is not schema.table")
    schema, table = (check_identifier(part) for part in parts)
    return schema, table


def check_identifier(name: str) -> str:
    """The identifier as it came; ValueError when empty, over 63 bytes (PostgreSQL would cut it silently) or with NUL."""
    if not name or "\0" in name:
        raise ValueError(f"{name!r} is empty or holds a NUL byte")
    if len(name.encode()) > IDENTIFIER_BYTES_MAX:
        raise ValueError(
            f"identifier {name!r} has {len(name.encode())} bytes: PostgreSQL cuts after {IDENTIFIER_BYTES_MAX}, shorten it"
        )
    return name
