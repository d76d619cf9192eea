"""The model of `qupersync.yaml`. Every default stands here and nowhere else."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)

from qupersync_shared.contracts.schema import IDENTIFIER_BYTES_MAX
from qupersync_shared.contracts.subjects import check_name
from qupersync_shared.runtime.settings.catalogue import ENTITIES, complete, include
from qupersync_shared.runtime.settings.control import (
    JITTER_MAX,
    ControlSection,
    ListenSection,
    Section,
    SourceSection,
    check_zone,
)
from qupersync_shared.runtime.settings.units import Duration, Size


def _identifier(name: str) -> str:
    return check_identifier(name)


def _listed(value: object) -> object:
    """One address, or several with commas between them, as an environment variable carries them."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _without_password(address: str) -> str:
    return address.rpartition("@")[2]


class RedshiftSource(SourceSection):
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
    connect_timeout: Duration = Field(default=timedelta(seconds=60), ge=timedelta(seconds=1), le=timedelta(hours=1))
    statement_timeout: Duration = Field(default=timedelta(minutes=15), ge=timedelta(seconds=1), le=timedelta(days=1))
    query_group: str = "qupersync"


class DuckDbSource(SourceSection):
    """A DuckDB file, opened read-only; without one, queries read Parquet, CSV and whatever else DuckDB can."""

    kind: Literal["duckdb"]
    path: Path | None = None

    @field_validator("path")
    @classmethod
    def _file(cls, value: Path | None) -> Path | None:
        if value is not None and str(value).startswith(":memory:"):
            raise ValueError("a database in memory has no path: write just kind: duckdb, and queries over files")
        return value


class DatabaseSection(Section):
    """A PostgreSQL database; the password may stand apart from the DSN."""

    dsn: SecretStr | None = None
    dsn_file: Path | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    connections: int = Field(default=8, ge=2, le=200)

    @field_validator("dsn")
    @classmethod
    def _postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        parts = None if value is None else urlsplit(value.get_secret_value())
        if parts is not None and (parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/")):
            raise ValueError("not the address of a PostgreSQL database: write postgresql://user@host:5432/database")
        return value


class OutboxSection(DatabaseSection):
    retention: Duration = Field(default=timedelta(hours=72), ge=timedelta(seconds=10))
    high_water_bytes: Size = Field(default=2 << 30, ge=1 << 20)
    high_water_age: Duration = Field(default=timedelta(hours=6), ge=timedelta(seconds=1))


class NatsSection(Section):
    servers: Annotated[list[str], BeforeValidator(_listed)] = Field(min_length=1)
    user: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    replicas: int = Field(default=1, ge=1, le=5)
    stream_bytes_max: Size = Field(default=1 << 30, ge=1 << 20)
    replay_retention: Duration = Field(default=timedelta(0), ge=timedelta(0))

    @field_validator("servers")
    @classmethod
    def _addresses(cls, value: list[str]) -> list[str]:
        for server in value:
            parts = urlsplit(server)
            if parts.scheme not in {"nats", "tls", "ws", "wss"} or not parts.hostname:
                raise ValueError(
                    f"{_without_password(server)!r} is not the address of a server: write nats://host:4222"
                )
        return value


class ExtractorSection(Section):
    lease: Duration = Field(default=timedelta(seconds=30), ge=timedelta(seconds=1), le=timedelta(hours=1))
    event_bytes_max: Size = Field(default=900_000, ge=16_384)
    page_bytes_max: Size = Field(default=64 << 20, ge=1 << 20)
    memory_max: Size = Field(default=128 << 20, ge=1 << 20)
    runs_kept: Duration = Field(default=timedelta(days=90), ge=timedelta(seconds=10))
    ledger_kept: Duration = Field(default=timedelta(days=7), ge=timedelta(seconds=10))


class LoaderSection(Section):
    group: Annotated[str, BeforeValidator(lambda v: check_name(v) if isinstance(v, str) else v)] = "main"
    connections: int = Field(default=8, ge=1, le=100)
    ack_wait: Duration = Field(default=timedelta(seconds=60), ge=timedelta(seconds=1), le=timedelta(hours=1))
    probes: ListenSection | None = None


class ModelsSection(Section):
    """Where the model registry finds its artifacts."""

    path: Path


class ScoreSection(Section):
    """A column that a model computes: `into` holds what version `version` of `model` says of each row."""

    model: Annotated[str, AfterValidator(check_name)]
    version: str = Field(min_length=1)
    into: Annotated[str, AfterValidator(_identifier)]


class Schedule(Section):
    """When a pipeline runs; exactly one of the first three. `continuous` runs again as soon as it ended, once a second.

    `jitter` spreads runs by so much at random; a run by cron that nobody could make is made up for within
    `misfire_grace`, and left out when it is later.
    """

    every: Duration | None = None
    cron: str | None = None
    continuous: bool = False
    time_zone: Annotated[str, AfterValidator(check_zone)] = "UTC"
    jitter: Duration = Field(default=timedelta(0), ge=timedelta(0), le=JITTER_MAX)
    misfire_grace: Duration = Field(default=timedelta(minutes=5), ge=timedelta(seconds=1))

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return {"continuous": True} if value == "continuous" else value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum((self.every is not None, self.cron is not None, self.continuous)) != 1:
            raise ValueError('not one schedule: write one of {every: 15m}, {cron: "*/5 * * * *"} and continuous')
        if self.every is not None and self.every < timedelta(seconds=1):
            raise ValueError("every is under a second: write at least 1s, or continuous")
        return self


class PipelineSection(Section):
    """One source table, query or ready-made entity, and its target table."""

    entity: str | None = None
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
    snapshot_every: Annotated[Duration, Field(ge=timedelta(seconds=1))] | None = timedelta(hours=24)
    deletes: Literal["apply", "soft", "keep"] = "apply"
    on_bad_row: Literal["quarantine", "halt"] = "quarantine"
    on_terminal: Literal["park", "halt"] = "park"
    nul_bytes: Literal["quarantine", "remove"] = "quarantine"
    schema_policy: Literal["evolve", "freeze"] = Field(default="evolve", alias="schema")
    adopt: Literal["keep", "replace"] | None = None
    score: ScoreSection | None = None
    verify: Schedule | None = None

    @model_validator(mode="before")
    @classmethod
    def _ready_made(cls, value: object) -> object:
        return complete(value) if isinstance(value, dict) else value

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
            raise ValueError("a key column stands twice: write each column once")
        return value

    @field_validator("cursor")
    @classmethod
    def _cursor(cls, value: str | None) -> str | None:
        return None if value is None else check_identifier(value)

    @field_validator("cursor_time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        return check_zone(value)

    @field_validator("verify")
    @classmethod
    def _verify(cls, value: Schedule | None) -> Schedule | None:
        if value is not None and value.continuous:
            raise ValueError('a comparison is no stream: write {every: 24h} or {cron: "0 3 * * *"}')
        return value

    @property
    def of_views(self) -> str | None:
        """The entity whose rows are put together from system views; None for a table or query."""
        return self.entity if self.entity is not None and ENTITIES[self.entity].view else None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.of_views is not None:
            if self.from_ is not None or self.query is not None:
                raise ValueError(f"{self.entity} reads system views: write neither from nor query")
            return self
        if (self.from_ is None) == (self.query is None):
            given = "both from and query" if self.query is not None else "neither from nor query"
            raise ValueError(f"{given}: write either `from: schema.table` or `query: SELECT …`")
        return self


class Configuration(Section):
    """The whole file. Sections that only one service needs may be absent where the other one runs."""

    source: Annotated[RedshiftSource | DuckDbSource, Field(discriminator="kind")] | None = None
    outbox: OutboxSection | None = None
    nats: NatsSection | None = None
    target: DatabaseSection | None = None
    extractor: ExtractorSection = ExtractorSection()
    loader: LoaderSection = LoaderSection()
    control: ControlSection | None = None
    models: ModelsSection | None = None
    include: list[str] = Field(default_factory=list)
    _place: str = PrivateAttr(default="qupersync.yaml")
    pipelines: dict[Annotated[str, AfterValidator(check_name)], PipelineSection] = Field(default_factory=dict)

    @property
    def place(self) -> str:
        """The file it was read from, as errors name it."""
        return self._place

    def read_from(self, path: Path) -> Self:
        """Itself, with the file it was read from noted."""
        self._place = str(path)
        return self

    @model_validator(mode="before")
    @classmethod
    def _included(cls, value: object) -> object:
        return include(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        for name, pipeline in self.pipelines.items():
            wanted = ENTITIES[pipeline.entity].source if pipeline.entity is not None else None
            if wanted is not None and self.source is not None and self.source.kind != wanted:
                raise ValueError(
                    f"pipeline {name} is the ready-made {pipeline.entity}, whose source is {wanted}, not "
                    f"{self.source.kind}: write another source, or leave it out of include"
                )
            if isinstance(self.source, DuckDbSource) and self.source.path is None and pipeline.query is None:
                raise ValueError(
                    f"pipeline {name} reads a table, and source names no DuckDB file: write its path into source, "
                    "or a query over files, such as those of read_parquet('/data/*.parquet')"
                )
            if pipeline.score is not None and self.models is None:
                raise ValueError(
                    f"pipeline {name} has a score, and nothing says where models are: write models: {{path: …}}"
                )
        return self

    @field_validator("pipelines")
    @classmethod
    def _names(cls, value: dict[str, PipelineSection]) -> dict[str, PipelineSection]:
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
        raise ValueError(f"{name!r} is not a schema and a table: write schema.table")
    schema, table = (check_identifier(part) for part in parts)
    return schema, table


def check_identifier(name: str) -> str:
    """The identifier as it came; ValueError when empty, with NUL, or over 63 bytes (PostgreSQL cuts it silently)."""
    if not name or "\0" in name:
        raise ValueError(f"{name!r} is empty or holds a NUL byte")
    if len(name.encode()) > IDENTIFIER_BYTES_MAX:
        raise ValueError(
            f"identifier {name!r} has {len(name.encode())} bytes, and PostgreSQL cuts after {IDENTIFIER_BYTES_MAX}:"
            " write a shorter one"
        )
    return name
