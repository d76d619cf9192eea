"""The status page over memory: a document that tests may change, in-memory adapters, and a browser of sorts."""

import re
from collections.abc import AsyncIterator, Mapping
from collections.abc import Sequence as SequenceOf
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from fastapi import FastAPI

from qupersync_extractor.application.operations import Operations
from qupersync_extractor.application.parked import (
    ParkedOperations,
    ParkedPage,
    Place,
    Reasons,
    Redriven,
    Waiting,
    Wanted,
)
from qupersync_extractor.application.runs import RunCounts
from qupersync_extractor.domain.records import LedgerLine
from qupersync_extractor.infrastructure.memory.actions import MemoryActions
from qupersync_extractor.infrastructure.memory.control import MemoryControlWork
from qupersync_extractor.infrastructure.memory.idempotency import MemoryRequests
from qupersync_extractor.infrastructure.memory.ledger import MemoryLedger
from qupersync_extractor.infrastructure.memory.outbox import MemoryOutboxReader
from qupersync_extractor.infrastructure.memory.registry import MemoryRegistry
from qupersync_extractor.infrastructure.memory.runs import MemoryRuns
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_extractor.interface.api.app import build_app
from qupersync_extractor.interface.api.board import StatusBoard
from qupersync_extractor.interface.api.desk import Desk
from qupersync_extractor.interface.api.metering import RequestMeter
from qupersync_extractor.interface.api.security import Gatekeeper
from qupersync_extractor.interface.api.tokens import Tokens
from qupersync_extractor.interface.page import ROUTERS
from qupersync_shared.contracts.parked import Chosen, ParkedEntry, ParkedKind, ReasonTold
from qupersync_shared.contracts.rebuilds import RebuildTold
from qupersync_shared.kernel.errors import TransientError
from qupersync_shared.kernel.ids import GroupName, Log, PipelineName, RunId, Sequence, uuid7
from qupersync_shared.runtime.http import Probes, Readiness
from qupersync_shared.runtime.settings import Configuration
from qupersync_shared.runtime.settings.control import TokenSection

HOST = "http://127.0.0.1:8700"
OPERATOR, VIEWER = "the-secret-of-operators", "the-secret-of-viewers"
HOSTILE = "<script>alert('a')</script><img src=x onerror=alert(1)>"
NAMES = ("cost_usage", "customers", "query_history")
_CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')


def text_of(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def entry(now: datetime, **changed: Any) -> dict[str, Any]:
    """A live pipeline of two lanes, as the status document has it; `changed` takes the place of what it names."""
    applied = {
        "log": 1,
        "sequence": 1204,
        "event_id": str(uuid4()),
        "building": None,
        "honest_time": text_of(now - timedelta(seconds=12)),
        "applied_at": text_of(now - timedelta(seconds=3)),
        "trouble": None,
        "quarantined": 0,
        "dead_letters": 0,
        "altered": 0,
    }
    found: dict[str, Any] = {
        "state": "live",
        "reason": None,
        "extraction": {
            "log": 1,
            "sequence": 1204,
            "cursor": '{"v":1,"cursor":["timestamp","2026-03-01 10:00:00.093219"],"key":"highest"}',
            "snapshot": None,
            "snapshot_ended_at": text_of(now - timedelta(hours=2)),
            "completed_at": text_of(now - timedelta(seconds=4)),
            "owner": None,
        },
        "lanes": [
            {
                "lane": lane,
                "published_log": 1,
                "published_sequence": 1204,
                "applied_log": 1,
                "applied_sequence": 1204,
                "waiting_events": 0,
                "groups": {"main": dict(applied)},
                "generation": 0,
            }
            for lane in range(2)
        ],
        "lag": {
            "source_seconds": 2.1,
            "outbox_records": 0,
            "outbox_bytes": 0,
            "outbox_seconds": 0.0,
            "stream_events": 0,
            "freshness_seconds": 12.4,
        },
        "parked": {"main": {"quarantined": 0, "dead_letters": 0, "altered": 0}},
        "stream": {
            "messages": 12,
            "bytes": 799_008,
            "bytes_max": 1 << 30,
            "replayable_since": text_of(now - timedelta(hours=2)),
            "not_rebuildable": None,
            "held_by": [],
        },
        "notices": [],
        "control": {
            "paused": False,
            "reason": None,
            "version": 1,
            "updated_at": text_of(now - timedelta(days=1)),
            "updated_by": "configuration",
        },
        "verifications": {},
        "withheld_rows": 0,
        "rereads": {"waiting": 0, "refused": 0, "oldest": None, "unreadable": None},
        "outbox": {"records": 0, "bytes": 0, "oldest": None},
        "ledger": {"sentence": "in sync: all 1,204 pages of log 1 are applied by main"},
        "schedule": {"text": "every 15 min", "next_run_at": text_of(now + timedelta(minutes=3)), "paused": False},
    }
    return {**found, **changed}


def document(
    now: datetime, pipelines: Mapping[str, Any] | None = None, *, reasons: SequenceOf[str] = (), **changed: Any
) -> dict[str, Any]:
    """A status document of these pipelines; all of `NAMES`, live, if none are given."""
    entries = dict(pipelines) if pipelines is not None else {name: entry(now) for name in NAMES}
    told = [*reasons, *(f"{name}: {one['reason']}" for name, one in entries.items() if one.get("reason"))]
    return {
        "as_of": text_of(now),
        "reason": "; ".join(told) or None,
        "reasons": told,
        "pipelines": entries,
        "processes": [process(now, "extractor", None), process(now, "loader", "main")],
        "probes": {name: {"verdict": "ok", "seconds": 0.02, "message": None} for name in ("nats", "extractor")},
        **changed,
    }


def process(now: datetime, role: str, group: str | None, *, age: float = 1.2) -> dict[str, Any]:
    return {
        "role": role,
        "instance": f"host-4711-{role}",
        "group": group,
        "started_at": text_of(now - timedelta(hours=5)),
        "beat_at": text_of(now - timedelta(seconds=age)),
        "version": "0.1.0",
        "troubles": {},
        "notices": {},
        "relays": role == "extractor",
        "age_seconds": age,
        "alive": age < 15,
    }


def configuration(names: SequenceOf[str] = NAMES, **sections: Any) -> Configuration:
    return Configuration.model_validate(
        {
            "source": {"kind": "redshift", "host": "warehouse", "database": "dev", "user": "sync"},
            "outbox": {"dsn": "postgresql://sync@127.0.0.1/outbox"},
            "nats": {"servers": ["nats://127.0.0.1:4222"]},
            "pipelines": {
                name: {"from": f"billing.{name}", "into": f"public.{name}", "key": ["id"], "cursor": "updated_at"}
                for name in names
            },
            **sections,
        }
    )


@dataclass(slots=True)
class ScriptedParked:
    """What is parked, as the test says; what is redriven or discarded is written down."""

    heaps: dict[tuple[Place, ParkedKind], list[ParkedEntry]] = field(default_factory=dict)
    away: str | None = None
    stale: int = 0  # counted with the dead letters, and there no more
    done: list[tuple[str, Place, ParkedKind, Chosen]] = field(default_factory=list)

    async def waiting(self, pipelines: SequenceOf[PipelineName]) -> list[Waiting]:
        places = dict.fromkeys(place for place, _ in self.heaps if place.pipeline in pipelines)
        return [
            Waiting(
                place=place,
                quarantined=len(self.heaps.get((place, ParkedKind.QUARANTINE), [])),
                dead_letters=self.stale + len(self.heaps.get((place, ParkedKind.DEAD_LETTERS), [])),
            )
            for place in places
        ]

    async def page(self, place: Place, wanted: Wanted) -> ParkedPage:
        self._check()
        return ParkedPage(entries=tuple(self.heaps.get((place, wanted.kind), ())))

    async def reasons(self, place: Place, kind: ParkedKind) -> Reasons:
        self._check()
        found = self.heaps.get((place, kind), [])
        told = {
            one.reason: ReasonTold(
                reason=one.reason,
                example=one.reason,
                count=sum(other.reason == one.reason for other in found),
                first_seen=one.first_seen,
                last_seen=one.last_seen,
            )
            for one in found
        }
        return Reasons(reasons=tuple(told.values()), total=len(found))

    async def entry(self, place: Place, kind: ParkedKind, id_: str) -> ParkedEntry:
        return next(one for one in self.heaps[place, kind] if one.id == id_)

    async def redrive(self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str, request: UUID) -> Redriven:
        self._check()
        self.done.append(("redrive", place, kind, chosen))
        return Redriven(asked=1)

    async def discard(self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str) -> int:
        self._check()
        self.done.append(("discard", place, kind, chosen))
        return 1

    def _check(self) -> None:
        if self.away is not None:
            raise TransientError(self.away, cure="Start `qupersync-loader run`")


@dataclass(slots=True)
class ScriptedRebuilds:
    """Rebuilds by group; a group that is not there does not answer."""

    told: dict[str, tuple[RebuildTold, ...]] = field(default_factory=dict)

    async def list(self, group: GroupName, *, ended: int = 20) -> tuple[RebuildTold, ...]:
        if group not in self.told:
            raise TransientError(f"no loader of group {group} answers", cure="Start `qupersync-loader run`")
        return self.told[group]


@dataclass(slots=True)
class PageWorld:
    """What a test turns, and looks at through `browser`."""

    app: FastAPI
    browser: httpx.AsyncClient
    store: MemoryStore
    desk: Desk
    parked: ScriptedParked
    rebuilds: ScriptedRebuilds
    document: dict[str, Any]

    def shows(self, told: dict[str, Any]) -> None:
        """From now on the status document says this."""
        self.document.clear()
        self.document.update(told)
        self.desk.board.outdate()

    async def has_history(self, error: str | None = None) -> None:
        """A run that ended well, one that failed where an `error` is given, and a page in the ledger."""
        for ended in (None, error) if error is not None else (None,):
            run = RunId(uuid7())
            await self.desk.runs.start(run, PipelineName("cost_usage"), mode="incremental", cause="schedule")
            await self.desk.runs.end(run, counts=RunCounts(pages=1, rows=1204, bytes=99), error=ended)
        self.store.write_line(
            LedgerLine(
                pipeline=PipelineName("cost_usage"),
                log=Log(1),
                sequence=Sequence(1204),
                run=None,
                mode="incremental",
                rows=1204,
                bytes=99,
            )
        )

    async def see(self, path: str, *, status: int = 200) -> str:
        answer = await self.browser.get(path)
        assert answer.status_code == status, (answer.status_code, answer.text[:2000])
        return answer.text

    async def log_in(self, secret: str) -> None:
        answer = await self.browser.post("/login", data={"secret": secret})
        assert answer.status_code == 303, answer.text

    async def csrf(self, path: str) -> str:
        """The token in the form that asks at this path."""
        found = _CSRF.search(await self.see(path))
        assert found is not None
        return found[1]


def memory_desk(
    store: MemoryStore,
    told: dict[str, Any],
    parked: ScriptedParked,
    rebuilds: ScriptedRebuilds,
    configured: Configuration,
) -> Desk:
    async def build() -> dict[str, Any]:
        return dict(told)

    def controls() -> MemoryControlWork:
        return MemoryControlWork(store)

    actions = MemoryActions(store)
    return Desk(
        configured=lambda: configured,
        board=StatusBoard(build),
        operations=Operations(
            controls=controls,
            registry=MemoryRegistry(store),
            outbox=MemoryOutboxReader(store),
            actions=actions,
            runs=MemoryRuns(store),
            ledger=MemoryLedger(store),
        ),
        controls=controls,
        requests=MemoryRequests(store.now),
        runs=MemoryRuns(store),
        actions=actions,
        ledger=MemoryLedger(store),
        parked=ParkedOperations(parked=parked, actions=actions),
        where_parked=parked,
        rebuilds=rebuilds,
    )


@asynccontextmanager
async def opened(
    directory: Path, *, tokens: bool = False, configured: Configuration | None = None
) -> AsyncIterator[PageWorld]:
    """A page of its own. With `tokens` there is an operator and a viewer; else whoever asks is this machine."""
    sections = []
    for name, role, secret in (("ann", "operator", OPERATOR), ("vic", "viewer", VIEWER)) if tokens else ():
        (directory / name).write_text(secret)
        sections.append(TokenSection.model_validate({"name": name, "role": role, "file": directory / name}))
    store, parked, rebuilds = MemoryStore(), ScriptedParked(), ScriptedRebuilds()
    told = document(datetime.now(UTC))
    desk = memory_desk(store, told, parked, rebuilds, configured or configuration())
    for name in desk.configured().pipelines:
        await desk.operations.registry.register(PipelineName(name), 2)
        async with desk.controls() as work:
            await work.controls.make(PipelineName(name), by="configuration")
            await work.commit()
    meter = RequestMeter()
    app = build_app(
        desk,
        gatekeeper=Gatekeeper(Tokens(sections)),
        probes=Probes(version="0", readiness=Readiness({}), registry=meter.registry),
        meter=meter,
        version="0.1.0",
        further=ROUTERS,
    )
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url=HOST) as browser:
        yield PageWorld(
            app=app, browser=browser, store=store, desk=desk, parked=parked, rebuilds=rebuilds, document=told
        )


def parked_row(now: datetime, reason: str, *, id_: str = "7", key: str = '["42"]') -> ParkedEntry:
    return ParkedEntry(
        id=id_, reason=reason, key=key, first_seen=now - timedelta(hours=1), last_seen=now - timedelta(minutes=2)
    )


def rebuild(now: datetime, **changed: Any) -> RebuildTold:
    told = {
        "id": uuid4(),
        "pipeline": "cost_usage",
        "table": "public.cost_usage",
        "phase": "reading",
        "rows": 120_000,
        "who": "ann",
        "began_at": now - timedelta(minutes=2),
        "noted_at": now,
        "running": True,
        "done": 420,
        "total": 1000,
        "eta_seconds": 34.0,
    }
    return RebuildTold.model_validate({**told, **changed})
