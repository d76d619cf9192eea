"""Errors as clients see them: `application/problem+json` (RFC 9457), with a cure and without secrets."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from qupersync_extractor.application.control import NeverRunError
from qupersync_extractor.application.parked import UnknownEntryError
from qupersync_shared.kernel.errors import ConflictError, QupersyncError, TransientError
from qupersync_shared.runtime.logs import mask
from qupersync_shared.runtime.records import BadCursorError, StaleVersionError, UnknownFieldError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5
_KIND: Final = "urn:qupersync:problem:"
_PLACES_MAX: Final = 20
# What each error of the tree is for a client; the first that fits.
_VERDICTS: Final[tuple[tuple[type[QupersyncError], int, str, str], ...]] = (
    (UnknownFieldError, 400, "bad-request", "The list cannot be asked for like this"),
    (BadCursorError, 400, "bad-cursor", "The cursor does not belong to this list"),
    (StaleVersionError, 409, "stale-version", "Somebody else has decided meanwhile"),
    (UnknownEntryError, 404, "not-found", "There is nothing here"),
    (NeverRunError, 409, "never-run", "The pipeline has never run"),
    (ConflictError, 409, "conflict", "Somebody else is at it"),
    (TransientError, 503, "unavailable", "A part of the system does not answer"),
    (QupersyncError, 409, "refused", "It cannot be done"),
)
_CURES: Final[Mapping[int, str]] = {
    400: "GET /api/v1/openapi.json says what is accepted",
    404: "GET /api/v1/openapi.json lists every path",
    405: "The header Allow names the methods of this path",
}


class FieldProblem(BaseModel):
    """One part of a request that is wrong."""

    place: str = Field(examples=["query.limit"])
    message: str = Field(examples=["Input should be less than or equal to 1000"])


class Problem(BaseModel):
    """What went wrong, and what mends it (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:qupersync:problem:unknown-pipeline",
                    "title": "There is no such pipeline",
                    "status": 404,
                    "detail": "there is no pipeline 'orders'",
                    "cure": "Known: cost_usage, customers",
                }
            ]
        }
    )

    type: str = Field(description="Tells kinds of problems apart; stable.")
    title: str = Field(description="What kind of problem it is; the same for all of its type.")
    status: int = Field(description="The HTTP status once more.")
    detail: str = Field(description="What is wrong this time.")
    cure: str = Field(description="What would mend it; may be empty.")
    errors: list[FieldProblem] | None = Field(default=None, description="The parts of the request that are wrong.")


class ProblemError(Exception):
    """A request that cannot be answered as it was meant; becomes a `Problem`."""

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str,
        *,
        cure: str = "",
        errors: Sequence[FieldProblem] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(
            type=f"{_KIND}{kind}",
            title=title,
            status=status,
            detail=mask(detail),
            cure=mask(cure),
            errors=list(errors)[:_PLACES_MAX] if errors else None,
        )
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The answer that says so."""
        content = self.problem.model_dump(mode="json", exclude_none=True)
        return JSONResponse(content, self.problem.status, headers=self.headers, media_type=MEDIA_TYPE)


def bad_request(detail: str, *, cure: str = "", errors: Sequence[FieldProblem] | None = None) -> ProblemError:
    """A request that nobody can make sense of."""
    return ProblemError(400, "bad-request", "The request is not understood", detail, cure=cure, errors=errors)


def unknown_pipeline(name: str, configured: Sequence[str]) -> ProblemError:
    """A pipeline that the configuration does not have."""
    listed = ", ".join(sorted(configured)) or "none"
    title = "There is no such pipeline"
    return ProblemError(404, "unknown-pipeline", title, f"there is no pipeline {name!r}", cure=f"Known: {listed}")


def not_found(what: str) -> ProblemError:
    """Something that is not, or no longer, kept."""
    return ProblemError(404, "not-found", "There is nothing here", f"there is no {what}", cure=_CURES[404])


def problem_of(error: QupersyncError) -> ProblemError:
    """What an error of the tree is for a client."""
    _, status, kind, title = next(verdict for verdict in _VERDICTS if isinstance(error, verdict[0]))
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return ProblemError(status, kind, title, error.message, cure=error.cure, headers=headers)


def defect() -> ProblemError:
    """What nobody foresaw; the log has the rest."""
    title = "This should not have happened"
    detail = "the request met a defect; the log of this process says `http_failed` with its cause"
    return ProblemError(500, "defect", title, detail, cure="Please report it with that part of the log")


def add_handlers(app: FastAPI) -> None:
    """From now on every error of the application is answered as a problem."""

    async def foreseen(_: Request, error: Exception) -> Response:
        return error.response() if isinstance(error, ProblemError) else defect().response()

    async def of_the_tree(_: Request, error: Exception) -> Response:
        return problem_of(error).response() if isinstance(error, QupersyncError) else defect().response()

    async def invalid(_: Request, error: Exception) -> Response:
        found = error.errors() if isinstance(error, RequestValidationError) else ()
        places = [FieldProblem(place=_place(one["loc"]), message=str(one["msg"])) for one in found]
        first = f"{places[0].place}: {places[0].message}" if places else "it is malformed"
        return bad_request(first, cure=_CURES[400], errors=places).response()

    async def of_http(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        phrase = HTTPStatus(status).phrase
        kind = phrase.lower().replace(" ", "-")
        detail = str(getattr(error, "detail", phrase))
        return ProblemError(status, kind, phrase, detail, cure=_CURES.get(status, ""), headers=headers).response()

    app.add_exception_handler(ProblemError, foreseen)
    app.add_exception_handler(QupersyncError, of_the_tree)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, of_http)


def _place(loc: Sequence[Any]) -> str:
    return ".".join(str(part) for part in loc)[:200]


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These problems, as OpenAPI declares them."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }
