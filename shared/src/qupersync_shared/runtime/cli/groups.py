"""`qupersync groups`: who loads, how far each group is, and the end of a claim on the streams."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final

import nats.js.errors
import typer
from nats.aio.client import Client
from nats.js import JetStreamContext
from pydantic import ValidationError

from qupersync_shared.contracts.places import StreamPlaces, places_key
from qupersync_shared.contracts.progress import STALE_SECONDS, LaneProgress, ProcessHeartbeat, lane_key
from qupersync_shared.contracts.subjects import NAME, stream_name
from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.cli.confirming import confirm
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import ConfigOption, JsonOption, PipelinesOption, YesOption
from qupersync_shared.runtime.cli.probing import run
from qupersync_shared.runtime.console import console, print_json, print_plain, print_table, seconds_shown
from qupersync_shared.runtime.jetstream import connect, translated
from qupersync_shared.runtime.lane_words import told_once
from qupersync_shared.runtime.settings import Configuration, NatsSection
from qupersync_shared.runtime.stream_reading import LaneConsumer, lane_consumers

_CONNECT_SECONDS: Final = 5.0
_STREAMS_A_PAGE: Final = 256
_PREFIX: Final = stream_name(PipelineName(""))


@dataclass(slots=True, kw_only=True)
class Membership:
    """One group on one pipeline: what it registered, how far it is, and whether it holds the stream back."""

    group: GroupName
    pipeline: PipelineName
    told: dict[Lane, LaneProgress] = field(default_factory=dict)
    consumers: dict[Lane, LaneConsumer] = field(default_factory=dict)
    told_seconds: float | None = None
    holds: bool = False

    @property
    def waiting(self) -> int:
        """Events that wait for it, on all lanes."""
        return sum(consumer.waiting for consumer in self.consumers.values())

    @property
    def trouble(self) -> str | None:
        """What its lanes say, each thing once."""
        return "; ".join(told_once(told.trouble for told in self.told.values() if told.trouble)) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """All memberships, how long ago each group's last heartbeat came, and under which keys its heartbeats stand."""

    memberships: list[Membership]
    heartbeat_seconds: dict[GroupName, float]
    heartbeat_keys: dict[GroupName, list[str]]

    def alive(self, group: GroupName) -> bool:
        return self.heartbeat_seconds.get(group, STALE_SECONDS + 1) <= STALE_SECONDS

    def known(self) -> list[GroupName]:
        return sorted({*(membership.group for membership in self.memberships), *self.heartbeat_seconds})


def list_groups(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every loader group that NATS knows of, pipeline by pipeline."""
    found = run(_read(_section(configuration(context, config))))
    if as_json:
        print_json({"groups": [_plain(found, membership) for membership in found.memberships]})
        return
    out = console()
    if not found.memberships:
        print_plain(out, "no loader group has registered yet")
        return
    print_table(
        out,
        ("group", "pipeline", "lanes", "waiting", "heartbeat", "holds the stream", "trouble"),
        [_row(found, membership) for membership in found.memberships],
        ["" if found.alive(membership.group) else "yellow" for membership in found.memberships],
    )


def remove_group(
    context: typer.Context,
    group: Annotated[str, typer.Argument(help="The loader group.")],
    pipeline: PipelinesOption = None,
    force: Annotated[bool, typer.Option("--force", help="Although a loader of it is running.")] = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End the claim of a loader group that is gone: its consumers and its progress are removed, its target stays."""
    section = _section(configuration(context, config))
    name = GroupName(group)
    found = run(_read(section))
    wanted = [m for m in found.memberships if m.group == name and (not pipeline or m.pipeline in pipeline)]
    if not wanted:
        where = f" on {', '.join(pipeline)}" if pipeline else ""
        raise QupersyncError(
            f"there is no loader group {group!r}{where}", cure=f"Known groups: {', '.join(found.known()) or 'none'}"
        )
    if found.alive(name) and not force:
        raise QupersyncError(
            f"a loader of group {group} is running: its last heartbeat is "
            f"{seconds_shown(found.heartbeat_seconds[name])} old",
            cure="Stop it first. With --force it loses its place, and may need a snapshot",
        )
    names = ", ".join(membership.pipeline for membership in wanted)
    confirm(f"Remove loader group {group} from {names}? What its target has not loaded may leave the streams", yes=yes)
    leaves = all(membership in wanted for membership in found.memberships if membership.group == name)
    run(_end_claims(section, wanted, found.heartbeat_keys.get(name, ()) if leaves else ()))
    if as_json:
        print_json({"group": group, "removed_from": [membership.pipeline for membership in wanted]})
    else:
        print_plain(console(), f"removed loader group {group} from {names}")


def _section(found: Configuration) -> NatsSection:
    if found.nats is None:
        raise ConfigurationError("nats is missing", place="nats", cure="Write `nats: {servers: [nats://host:4222]}`")
    return found.nats


# ------------------------------------------------------------------------------------------------------------- reading


async def _read(section: NatsSection) -> Groups:
    client = await connect(section, name="qupersync-groups", timeout=_CONNECT_SECONDS, once=True)
    try:
        return await read_groups(client)
    finally:
        await client.close()


async def read_groups(client: Client) -> Groups:
    """Every group that has progress in the bucket or a consumer on a stream, of any configuration."""
    js = client.jetstream(timeout=_CONNECT_SECONDS)
    at = await bucket.server_time(client)
    found: dict[tuple[GroupName, PipelineName], Membership] = {}

    def membership(group: GroupName, pipeline: PipelineName) -> Membership:
        return found.setdefault((group, pipeline), Membership(group=group, pipeline=pipeline))

    for pipeline in await _pipelines(js):
        for (group, lane), consumer in (await lane_consumers(js, pipeline)).items():
            membership(group, pipeline).consumers[lane] = consumer
        entries = await bucket.read(client, [f"lane.*.{pipeline}.*"])
        for told, entry in _lanes(entries.values()):
            member = membership(GroupName(told.group), pipeline)
            member.told[Lane(told.lane)] = told
            age = _age(at, entry.written_at)
            member.told_seconds = age if member.told_seconds is None else min(age, member.told_seconds)
        for group in await _held_by(client, pipeline):
            membership(group, pipeline).holds = True
    beats: dict[GroupName, float] = {}
    keys: dict[GroupName, list[str]] = {}
    for key, entry in (await bucket.read(client, ["process.loader.*"])).items():
        with suppress(ValidationError):
            beat = ProcessHeartbeat.model_validate_json(entry.value)
            if beat.group is not None:
                group = GroupName(beat.group)
                beats[group] = min(_age(at, entry.written_at), beats.get(group, float("inf")))
                keys.setdefault(group, []).append(key)
    memberships = [found[place] for place in sorted(found)]
    return Groups(memberships=memberships, heartbeat_seconds=beats, heartbeat_keys=keys)


async def _pipelines(js: JetStreamContext) -> list[PipelineName]:
    """The pipelines that have a stream, also those that no configuration names any more."""
    names: list[str] = []
    while True:
        with translated("list the streams"):
            page = await js.streams_info(offset=len(names))
        names += [info.config.name or "" for info in page]
        if len(page) < _STREAMS_A_PAGE:
            break
    ours = (name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))
    return sorted(PipelineName(name) for name in ours if NAME.fullmatch(name))


async def _held_by(client: Client, pipeline: PipelineName) -> Sequence[GroupName]:
    for entry in (await bucket.read(client, [places_key(pipeline)])).values():
        with suppress(ValidationError):
            return [GroupName(name) for name in StreamPlaces.model_validate_json(entry.value).held_by]
    return []


def _lanes(entries: Iterable[bucket.Entry]) -> Iterable[tuple[LaneProgress, bucket.Entry]]:
    for entry in entries:
        with suppress(ValidationError):
            yield LaneProgress.model_validate_json(entry.value), entry


def _age(at: datetime, written_at: datetime) -> float:
    return max(0.0, (at - written_at).total_seconds())


# ------------------------------------------------------------------------------------------------------------ removing


async def _end_claims(section: NatsSection, memberships: Sequence[Membership], heartbeats: Sequence[str]) -> None:
    client = await connect(section, name="qupersync-groups", timeout=_CONNECT_SECONDS, once=True)
    try:
        await end_claims(client, memberships, heartbeats)
    finally:
        await client.close()


async def end_claims(client: Client, memberships: Iterable[Membership], heartbeats: Iterable[str] = ()) -> None:
    """Removes the consumers and the progress of these groups, and heartbeats that nobody is to miss; safe to repeat."""
    js = client.jetstream(timeout=_CONNECT_SECONDS)
    for membership in memberships:
        stream = stream_name(membership.pipeline)
        for consumer in membership.consumers.values():
            with translated(f"delete consumer {consumer.name}"), suppress(nats.js.errors.NotFoundError):
                await js.delete_consumer(stream, consumer.name)
        for lane in membership.told:
            await bucket.remove(js, lane_key(membership.group, membership.pipeline, lane))
    for key in heartbeats:
        await bucket.remove(js, key)


# ------------------------------------------------------------------------------------------------------------- showing


def _row(found: Groups, membership: Membership) -> tuple[str, ...]:
    beat = found.heartbeat_seconds.get(membership.group)
    return (
        membership.group,
        membership.pipeline,
        str(len({*membership.told, *membership.consumers})),
        str(membership.waiting),
        "none" if beat is None else f"{seconds_shown(beat)} ago",
        "yes" if membership.holds else "no",
        membership.trouble or "-",
    )


def _plain(found: Groups, membership: Membership) -> dict[str, Any]:
    beat = found.heartbeat_seconds.get(membership.group)
    lanes = sorted({*membership.told, *membership.consumers})
    return {
        "group": membership.group,
        "pipeline": membership.pipeline,
        "alive": found.alive(membership.group),
        "heartbeat_seconds": None if beat is None else round(beat, 1),
        "progress_seconds": None if membership.told_seconds is None else round(membership.told_seconds, 1),
        "waiting_events": membership.waiting,
        "holds_stream": membership.holds,
        "trouble": membership.trouble,
        "lanes": [
            {
                "lane": lane,
                "log": told.log if (told := membership.told.get(lane)) else None,
                "sequence": told.sequence if told else None,
                "waiting_events": consumer.waiting if (consumer := membership.consumers.get(lane)) else None,
            }
            for lane in lanes
        ],
    }
