"""`/health`, `/ready` and `/metrics` of a process that serves the API; nobody needs a token for them."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, PlainTextResponse, Response

from qupersync_shared.runtime.http import Probes
from qupersync_shared.runtime.http.probes import shown


class HealthModel(BaseModel):
    """The process is alive; of servers it says nothing, since restarting mends none."""

    status: str = Field(examples=["ok"])
    version: str
    uptime_seconds: float


class CheckModel(BaseModel):
    """What one check has found."""

    ok: bool
    reason: str | None = None


class ReadyModel(BaseModel):
    """Whether the process can do its work, and which part keeps it from that."""

    ready: bool
    as_of: str = Field(description="At most a second ago.")
    checks: dict[str, CheckModel] = Field(description="source, outbox, nats and progress.")


def probes_router(probes: Probes) -> APIRouter:
    """The probes as routes."""
    router = APIRouter(tags=["probes"])
    unready: dict[int | str, dict[str, Any]] = {503: {"model": ReadyModel, "description": "Not now, and why."}}
    texts: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}}

    @router.get("/health", response_model=HealthModel)
    async def health() -> Response:
        """Whether the process is alive."""
        return JSONResponse(probes.health())

    @router.get("/ready", response_model=ReadyModel, responses=unready)
    async def ready() -> Response:
        """Whether it can work: the source, the outbox database and NATS answer, and nothing holds the process up."""
        found = await probes.ready()
        return JSONResponse(shown(found), 200 if found.ready else 503)

    @router.get("/metrics", response_class=PlainTextResponse, responses=texts)
    async def metrics(request: Request) -> Response:
        """Everything counted, as Prometheus reads it; OpenMetrics where that is accepted."""
        content, media_type = probes.metrics(",".join(request.headers.getlist("accept")))
        return Response(content, headers={"content-type": media_type})

    return router
