"""The cluster's node type by `DescribeClusters`. Everything that may fail here fails quietly: it is one column."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

from qupersync_shared.runtime.logs import get_logger

ASK_SECONDS: Final = 3_600.0
CALL_SECONDS_MAX: Final = 5
ANSWER_SECONDS_MAX: Final = 30.0  # finding credentials may start a program, which may hang
_HOST: Final = re.compile(
    r"(?P<identifier>[a-z0-9-]+)\.[a-z0-9]+\.(?P<region>[a-z0-9-]+)\.redshift\.amazonaws\.com(\.cn)?\.?", re.IGNORECASE
)
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A provisioned cluster, as AWS names it."""

    identifier: str
    region: str

    @classmethod
    def of_host(cls, host: str) -> Self | None:
        """The cluster behind an endpoint's name; None for any other host (Serverless, an own name, an address)."""
        match = _HOST.fullmatch(host.strip())
        return match and cls(identifier=match["identifier"].lower(), region=match["region"].lower())


class AwsNodeTypes:
    """Asks AWS at most once an hour, whatever the answer was, and keeps the last one that told a type."""

    def __init__(
        self,
        host: str,
        *,
        client: Callable[[Cluster], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
    ) -> None:
        self._cluster = Cluster.of_host(host)
        self._client = client or _client
        self._clock = clock
        self._answer_seconds_max = answer_seconds_max
        self._asking = asyncio.Lock()
        self._asked_at: float | None = None
        self._node_type: str | None = None

    async def node_type(self) -> str | None:
        if self._cluster is None:
            return None
        async with self._asking:
            now = self._clock()
            if self._asked_at is None or now - self._asked_at >= ASK_SECONDS:
                self._asked_at = now
                self._node_type = await self._answer(self._cluster) or self._node_type
        return self._node_type

    async def _answer(self, cluster: Cluster) -> str | None:
        try:
            async with asyncio.timeout(self._answer_seconds_max):
                return await asyncio.to_thread(self._ask, cluster)
        except TimeoutError:
            reason = f"no answer within {self._answer_seconds_max:g} s"
            _log.warning("node_type_unknown", cluster=cluster.identifier, reason=reason)
            return None

    def _ask(self, cluster: Cluster) -> str | None:
        try:
            client = self._client(cluster)
            if client is None:
                _log.info("node_type_unknown", cluster=cluster.identifier, reason="there are no AWS credentials")
                return None
            found = client.describe_clusters(ClusterIdentifier=cluster.identifier)["Clusters"]
            return next((str(one["NodeType"]) for one in found if one.get("NodeType")), None)
        except Exception as error:  # noqa: BLE001  # whatever it is, extraction goes on without the type
            reason = f"{type(error).__name__}: {error}"
            _log.warning("node_type_unknown", cluster=cluster.identifier, reason=reason)
            return None


def _client(cluster: Cluster) -> Any:
    """A client for the cluster's region; None without credentials. Imported late: it takes most of a second."""
    import boto3  # type: ignore[import-untyped]  # it ships no types
    from botocore.config import Config  # type: ignore[import-untyped]

    session = boto3.Session(region_name=cluster.region)
    if session.get_credentials() is None:
        return None
    quick = Config(connect_timeout=CALL_SECONDS_MAX, read_timeout=CALL_SECONDS_MAX, retries={"total_max_attempts": 2})
    return session.client("redshift", config=quick)
