"""The application: routes behind guards, and an OpenAPI document that says all of it."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware import Middleware

from qupersync_extractor.interface.api.desk import Desk
from qupersync_extractor.interface.api.guards import KnownHosts, NoTracebacks, PromptReads, SafeHeaders, SmallBodies
from qupersync_extractor.interface.api.metering import Metered, RequestMeter
from qupersync_extractor.interface.api.parameters import KnownParameters
from qupersync_extractor.interface.api.probing import probes_router
from qupersync_extractor.interface.api.problems import Problem, add_handlers, described
from qupersync_extractor.interface.api.routes import actions, history, jobs, ledger, parked, rebuilds, status
from qupersync_extractor.interface.api.security import Gatekeeper
from qupersync_shared.runtime.http import Probes

OPENAPI: Final = "/api/v1/openapi.json"
LOOPBACK_NAMES: Final = ("127.0.0.1", "::1", "localhost")
_DESCRIPTION: Final = """Redshift to PostgreSQL: how it is, and what can be done.

Errors are `application/problem+json` (RFC 9457) with a `cure`. Lists are read on with `next_cursor`. Requests that act
take an `Idempotency-Key`. Parameters that nobody knows are refused."""
_ROUTERS: Final = (
    *(status.router, jobs.router, history.router, ledger.router),
    *(actions.router, parked.router, rebuilds.router),
)


def build_app(
    desk: Desk,
    *,
    gatekeeper: Gatekeeper,
    probes: Probes,
    meter: RequestMeter,
    version: str,
    hosts: Iterable[str] = LOOPBACK_NAMES,
    further: Iterable[APIRouter] = (),
) -> FastAPI:
    """The application. Without tokens it answers only under the names `hosts`; `further` routers are not its API's."""
    guards = [Middleware(SafeHeaders), Middleware(Metered, meter=meter), Middleware(NoTracebacks)]
    if gatekeeper.open:
        guards.append(Middleware(KnownHosts, hosts=hosts))
    app = FastAPI(
        title="qupersync control API",
        version=version,
        description=_DESCRIPTION,
        openapi_url=OPENAPI,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        middleware=[*guards, Middleware(PromptReads), Middleware(SmallBodies)],
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the spans of this project are its own
    )
    app.state.desk = desk
    app.state.gatekeeper = gatekeeper
    known = [Depends(KnownParameters())]
    for router in _ROUTERS:
        app.include_router(router, dependencies=known, responses=described(400, 401, 503))
    app.include_router(probes_router(probes), dependencies=known, responses=described(400))
    for router in further:
        app.include_router(router, include_in_schema=False)
    add_handlers(app)
    app.openapi = _documented(app)  # type: ignore[method-assign]  # FastAPI's own way to have it so
    return app


def _documented(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """The document without the errors that FastAPI assumes, and with those that there are."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            for operations in document["paths"].values():
                for operation in operations.values():
                    _without_assumed(operation)
                    for parameter in operation.get("parameters", ()):
                        parameter["schema"] = _without_null(parameter["schema"])
            schemas = document["components"]["schemas"]
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs"))
            schemas["Problem"] = problem
            app.openapi_schema = document
        return app.openapi_schema

    return openapi


def _without_assumed(operation: dict[str, Any]) -> None:
    assumed = operation["responses"].get("422", {}).get("content", {}).get("application/json", {})
    if assumed.get("schema", {}).get("$ref", "").endswith("HTTPValidationError"):
        del operation["responses"]["422"]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema: one that may be left out is no `null` when it is there."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kinds) != 1:
        return schema
    return {**kinds[0], **{name: value for name, value in schema.items() if name not in {"anyOf", "default"}}}
