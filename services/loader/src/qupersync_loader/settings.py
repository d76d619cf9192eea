"""From the configuration to the values the loader's parts are given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from qupersync_loader.domain.pipeline import (
    Adopt,
    DeletePolicy,
    NulBytes,
    OnBadRow,
    OnTerminal,
    SchemaPolicy,
    TargetPipeline,
)
from qupersync_shared.contracts.subjects import check_name
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.ids import GroupName, PipelineName
from qupersync_shared.runtime.settings import Configuration, NatsSection, PipelineSection
from qupersync_shared.runtime.settings.control import ListenSection
from qupersync_shared.runtime.settings.loading import require_dsn
from qupersync_shared.runtime.settings.model import split_table

MIGRATE_WAIT_SECONDS: Final = 30.0  # for streams that the extractor's `migrate` is about to declare
_ACK_WAIT_SECONDS_MIN: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderSettings:
    """What a process of this service needs, checked and complete."""

    target_dsn: str
    slots: int
    nats: NatsSection
    group: GroupName
    ack_wait_seconds: float
    probes: ListenSection | None = None
    pipelines: tuple[TargetPipeline, ...]


def loader_settings(
    configuration: Configuration,
    *,
    group: str | None = None,
    only: Sequence[str] = (),
    path: str | None = None,
) -> LoaderSettings:
    """The settings, for all pipelines or those named; ConfigurationError names what is missing."""
    path = path or configuration.place
    if configuration.nats is None:
        raise ConfigurationError("nats is missing", place=path, cure="Write `nats: {servers: [nats://host:4222]}`")
    target_dsn = require_dsn("target", configuration.target, path)
    for name in only:
        if name not in configuration.pipelines:
            known = ", ".join(configuration.pipelines) or "none"
            raise ConfigurationError(f"there is no pipeline {name!r}", place=path, cure=f"Known pipelines: {known}")
    if not configuration.pipelines:
        raise ConfigurationError("pipelines is missing", place=path, cure="Add a pipeline; `qupersync init` shows one")
    ack_wait = configuration.loader.ack_wait.total_seconds()
    if ack_wait < _ACK_WAIT_SECONDS_MIN:
        raise ConfigurationError(
            f"loader.ack_wait is {ack_wait:g} s", place=path, cure=f"Write at least {_ACK_WAIT_SECONDS_MIN:g}s"
        )
    chosen = _group(group or configuration.loader.group)
    return LoaderSettings(
        target_dsn=target_dsn,
        slots=configuration.loader.connections,
        nats=configuration.nats,
        group=chosen,
        ack_wait_seconds=ack_wait,
        probes=configuration.loader.probes,
        pipelines=tuple(
            pipeline_of(chosen, name, section)
            for name, section in configuration.pipelines.items()
            if not only or name in only
        ),
    )


def pipeline_of(group: GroupName, name: str, section: PipelineSection) -> TargetPipeline:
    """The domain's pipeline of a section that has been validated."""
    schema, table = split_table(section.into)
    return TargetPipeline(
        group=group,
        name=PipelineName(name),
        schema=schema,
        table=table,
        lanes=section.lanes,
        deletes=DeletePolicy(section.deletes),
        on_bad_row=OnBadRow(section.on_bad_row),
        on_terminal=OnTerminal(section.on_terminal),
        schema_policy=SchemaPolicy(section.schema_policy),
        adopt=Adopt(section.adopt) if section.adopt is not None else None,
        nul_bytes=NulBytes(section.nul_bytes),
    )


def _group(name: str) -> GroupName:
    try:
        return GroupName(check_name(name))
    except ValueError as error:
        raise ConfigurationError(str(error), place="--group", cure="Choose such a name") from None
