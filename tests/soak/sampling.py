"""Everything that could grow, measured every few seconds: processes, databases, streams. Outages leave holes only."""

import asyncio
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import nats
import nats.errors
import psutil
from nats.aio.client import Client
from tests.soak.fleet import Fleet, role_of
from tests.soak.monotone import LaneSeen, Monotone
from tests.soak.options import Options

from qupersync_shared.contracts.subjects import PROGRESS_BUCKET

_ANSWER_SECONDS = 5.0
_UNREACHABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_SIZES = """
    SELECT CASE WHEN c.relname ~ '^outbox_[0-9]' THEN 'outbox' ELSE c.relname END AS name,
           sum(pg_total_relation_size(c.oid))::bigint AS bytes,
           count(*) FILTER (WHERE c.relname ~ '^outbox_[0-9]') AS partitions
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND (n.nspname = 'qupersync' OR c.relname LIKE 'qupersync%')
    GROUP BY 1
"""
_SESSIONS = """
    SELECT CASE WHEN application_name LIKE 'qupersync-%' THEN application_name ELSE 'other' END AS name, count(*) AS n
    FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1
"""
_TRANSACTIONS = """
    SELECT coalesce(sum(xact_commit + xact_rollback), 0)::bigint FROM pg_stat_database WHERE datname = $1
"""
_WRITTEN = """
    SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint
    FROM pg_stat_user_tables WHERE schemaname = 'public' AND relname NOT LIKE 'qupersync%'
"""
_WATERMARKS = "SELECT pipeline, lane, log, sequence, honest_time FROM public.qupersync_watermark"
_EXTRACTIONS = "SELECT pipeline, log, sequence FROM qupersync.extraction"


class Database:
    """One session that is made anew whenever the server was away."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record] | None:
        """The rows; None while the server is away."""
        async with self._lock:
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    if self._connection is None or self._connection.is_closed():
                        self._connection = await asyncpg.connect(
                            self._dsn, server_settings={"application_name": "soak"}
                        )
                    rows: list[asyncpg.Record] = await self._connection.fetch(sql, *arguments)
                    return rows
            except _UNREACHABLE:
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None
                return None

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()


@dataclass(slots=True, kw_only=True)
class Counted:
    """A counter of a server that begins anew when the server is killed: what was counted before is kept."""

    total: float = 0.0
    _last: float = 0.0

    def see(self, value: float) -> None:
        self.total += value - self._last if value >= self._last else value
        self._last = value


@dataclass(slots=True, kw_only=True)
class Sampler:
    """Samples and peaks of a run."""

    fleet: Fleet
    options: Options
    outbox: Database
    target: Database
    databases: tuple[str, str]
    monitor_port: int
    samples: list[tuple[float, Mapping[str, float]]] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    counters: dict[str, Counted] = field(default_factory=dict)
    monotone: Monotone = field(default_factory=Monotone)
    _began: float = field(default_factory=time.monotonic)
    _client: Client | None = None

    async def watch(self) -> None:
        """Watermarks and extractions, again and again until cancelled."""
        while True:
            await self.look_at_watermarks()
            await asyncio.sleep(self.options.rhythm.watch)

    async def sample(self) -> None:
        """Everything else, again and again until cancelled."""
        while True:
            await self.sample_once()
            await asyncio.sleep(self.options.rhythm.sample)

    async def look_at_watermarks(self) -> None:
        """One look, in the order that makes it comparable: against the stream."""
        watermarks = await self.target.fetch(_WATERMARKS)
        extractions = await self.outbox.fetch(_EXTRACTIONS)
        if watermarks is None or extractions is None:
            return
        self.monotone.see_watermarks(
            LaneSeen(
                pipeline=row["pipeline"],
                lane=row["lane"],
                place=(row["log"], row["sequence"]),
                honest_time=row["honest_time"],
            )
            for row in watermarks
        )
        self.monotone.see_extractions((row["pipeline"], (row["log"], row["sequence"])) for row in extractions)

    async def sample_once(self) -> dict[str, float]:
        """One sample; parts whose server is away are missing from it."""
        values: dict[str, float] = {}
        self._processes(values)
        await self._database(values)
        await self._streams(values)
        for name, value in values.items():
            self.peaks[name] = max(self.peaks.get(name, value), value)
        self.samples.append((time.monotonic() - self._began, values))
        return values

    def _processes(self, values: dict[str, float]) -> None:
        """The greatest of each role: of processes that come and go, single ones make no series."""
        for process in self.fleet.members.values():
            if not process.running:
                continue
            with suppress(psutil.Error):
                seen = psutil.Process(process.pid)
                with seen.oneshot():
                    found = {"memory": seen.memory_info().rss, "files": seen.num_fds(), "threads": seen.num_threads()}
                for name, value in found.items():
                    place = f"{name} {role_of(process.name)}"
                    values[place] = max(values.get(place, 0.0), float(value))
        with suppress(psutil.Error):
            if self.fleet.stack.nats.running:
                seen = psutil.Process(self.fleet.stack.nats.pid)
                values["memory nats-server"] = float(seen.memory_info().rss)
                values["files nats-server"] = float(seen.num_fds())

    async def _database(self, values: dict[str, float]) -> None:
        for place, database in (("outbox database", self.outbox), ("target database", self.target)):
            for row in await database.fetch(_SIZES) or ():
                values[f"table {row['name']} ({place})"] = float(row["bytes"])
                if row["partitions"]:
                    values["outbox partitions"] = float(row["partitions"])
        for row in await self.outbox.fetch(_SESSIONS) or ():
            values[f"connections {row['name']}"] = float(row["n"])
        for row in await self.target.fetch(_WRITTEN) or ():
            self._count("rows written into targets", row[0])
        for name in self.databases:
            for row in await self.outbox.fetch(_TRANSACTIONS, name) or ():
                self._count(f"transactions {name}", row[0])

    async def _streams(self, values: dict[str, float]) -> None:
        with suppress(OSError, TimeoutError, nats.errors.Error, ValueError, KeyError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                streams = await self.streams()
            own = [one for one in streams if one["config"]["name"].startswith("qupersync_")]
            values["stream bytes"] = float(sum(one["state"]["bytes"] for one in own))
            values["stream bytes of the greatest"] = float(max((one["state"]["bytes"] for one in own), default=0))
            values["stream messages"] = float(sum(one["state"]["messages"] for one in own))
            values["consumers"] = float(sum(one["state"]["consumer_count"] for one in own))
            for one in streams:
                if one["config"]["name"] == f"KV_{PROGRESS_BUCKET}":
                    beats = await self._heartbeats()
                    values["process keys"] = float(beats)
                    values["progress keys"] = float(one["state"]["messages"] - beats)
            varz = await asyncio.to_thread(self._ask_monitor, "varz")
            jsz = await asyncio.to_thread(self._ask_monitor, "jsz")
            values["connections nats-server"] = float(varz["connections"])
            values["subscriptions nats-server"] = float(varz["subscriptions"])
            self._count("NATS messages in", varz["in_msgs"])
            self._count("NATS messages out", varz["out_msgs"])
            self._count("JetStream API requests", jsz["api"]["total"])

    async def streams(self) -> list[dict[str, Any]]:
        """Every stream as the server describes it, in a few requests whatever their number."""
        found: list[dict[str, Any]] = []
        while True:
            answer = await self._request("$JS.API.STREAM.LIST", {"offset": len(found)})
            found += answer["streams"] or []
            if len(found) >= answer["total"] or not answer["streams"]:
                return found

    async def _heartbeats(self) -> int:
        """Keys of processes, those of dead ones included, which vanish by themselves an hour later."""
        wanted = {"subjects_filter": f"$KV.{PROGRESS_BUCKET}.process.>"}
        told = await self._request(f"$JS.API.STREAM.INFO.KV_{PROGRESS_BUCKET}", wanted)
        return len(told["state"].get("subjects") or ())

    async def redelivered(self) -> int:
        """Deliveries beyond the first of each message, as far as the consumers count them."""
        again = 0
        for stream in await self.streams():
            name = stream["config"]["name"]
            if not name.startswith("qupersync_"):
                continue
            answer = await self._request(f"$JS.API.CONSUMER.LIST.{name}", {"offset": 0})
            delivered = sum(one["delivered"]["consumer_seq"] for one in answer["consumers"] or ())
            again += max(0, delivered - stream["state"]["last_seq"])
        return again

    async def _request(self, subject: str, content: Mapping[str, object]) -> dict[str, Any]:
        if self._client is None or self._client.is_closed:
            self._client = await nats.connect(
                self.fleet.stack.nats.url, max_reconnect_attempts=-1, reconnect_time_wait=1, error_cb=_ignore
            )
        answer = await self._client.request(subject, json.dumps(content).encode(), timeout=_ANSWER_SECONDS)
        told: dict[str, Any] = json.loads(answer.data)
        return told

    def _ask_monitor(self, what: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor_port}/{what}", timeout=_ANSWER_SECONDS) as answer:
            told: dict[str, Any] = json.load(answer)
            return told

    def _count(self, name: str, value: float) -> None:
        self.counters.setdefault(name, Counted()).see(float(value))

    async def close(self) -> None:
        await self.outbox.close()
        await self.target.close()
        if self._client is not None:
            with suppress(Exception):
                await asyncio.wait_for(self._client.close(), _ANSWER_SECONDS)


async def _ignore(_: Exception) -> None:
    """The server is killed on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """What a system at rest costs: a share of one core for each process, and what a second brings."""

    seconds: float
    cpu_percent: Mapping[str, float]
    per_second: Mapping[str, float]


async def idle(sampler: Sampler, pids: Mapping[str, Sequence[int]], seconds: float) -> Idle:
    """Measures for so many seconds; `pids` are the processes by name, children of a server included."""
    await sampler.sample_once()
    before, counted = _cpu(pids), {name: one.total for name, one in sampler.counters.items()}
    began = time.monotonic()
    await asyncio.sleep(seconds)
    passed = time.monotonic() - began
    after = _cpu(pids)
    await sampler.sample_once()
    return Idle(
        seconds=passed,
        cpu_percent={name: round(100 * (after[name] - before[name]) / passed, 1) for name in pids},
        per_second={
            name: round((one.total - counted.get(name, 0.0)) / passed, 1) for name, one in sampler.counters.items()
        },
    )


def _cpu(pids: Mapping[str, Sequence[int]]) -> Counter[str]:
    spent: Counter[str] = Counter()
    for name, numbers in pids.items():
        for number in numbers:
            with suppress(psutil.Error):
                times = psutil.Process(number).cpu_times()
                spent[name] += times.user + times.system  # type: ignore[assignment]
    return spent
