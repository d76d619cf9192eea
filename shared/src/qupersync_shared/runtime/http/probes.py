"""What orchestrators and scrapers ask every process: is it alive, can it work, and what does it count."""

import time
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from qupersync_shared.runtime.http.readiness import Readiness, Ready

_UNAVAILABLE: Final = 503
_FRESH: Final = {"cache-control": "no-store"}


class Probes:
    """The three answers. `/health` says that the event loop turns and nothing of servers: restarting mends none."""

    def __init__(self, *, version: str, readiness: Readiness, registry: CollectorRegistry) -> None:
        self._version = version
        self._readiness = readiness
        self._registry = registry
        self._began = time.monotonic()

    def health(self) -> dict[str, Any]:
        """Version, and seconds since the start."""
        return {"status": "ok", "version": self._version, "uptime_seconds": round(time.monotonic() - self._began, 1)}

    async def ready(self) -> Ready:
        """The verdicts, at most a second old."""
        return await self._readiness.look()

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Everything counted, as OpenMetrics where that is accepted, else as Prometheus' text; and its media type."""
        try:
            encode, media_type = choose_encoder(accept)
        except (ValueError, TypeError):  # a version that is none
            encode, media_type = choose_encoder("")
        return encode(self._registry), media_type

    def routes(self) -> list[Route]:
        """The answers under their paths, for an application that has others besides."""

        async def health(_: Request) -> Response:
            return JSONResponse(self.health(), headers=_FRESH)

        async def ready(_: Request) -> Response:
            found = await self.ready()
            return JSONResponse(shown(found), status_code=200 if found.ready else _UNAVAILABLE, headers=_FRESH)

        async def metrics(request: Request) -> Response:
            # A scraper may split what it accepts over several headers.
            content, media_type = self.metrics(",".join(request.headers.getlist("accept")))
            return Response(content, headers={**_FRESH, "content-type": media_type})

        return [Route("/health", health), Route("/ready", ready), Route("/metrics", metrics)]


def probes_app(probes: Probes) -> Starlette:
    """An application that has the probes alone."""
    return Starlette(routes=probes.routes())


def shown(ready: Ready) -> dict[str, Any]:
    """The verdicts as JSON."""
    return {
        "ready": ready.ready,
        "as_of": ready.as_of.isoformat(),
        "checks": {
            name: {"ok": verdict.ok, **({} if verdict.reason is None else {"reason": verdict.reason})}
            for name, verdict in ready.checks.items()
        },
    }
