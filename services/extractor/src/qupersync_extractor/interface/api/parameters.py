"""What lists may be asked for, and that nothing else may: a parameter that nobody knows is refused, not ignored."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query, Request

from qupersync_extractor.interface.api.problems import FieldProblem, bad_request
from qupersync_shared.contracts.subjects import NAME
from qupersync_shared.runtime.records import Query as ListQuery
from qupersync_shared.runtime.records.listing import LIMIT_MAX

PREFIX: Final = "/api/v1/sync"
LIMIT: Final = 50
WORDS: Final = r"^[^\x00]*$"
NAME_PATTERN: Final = f"^{NAME.pattern}$"

JobId = Annotated[str, Path(description="The pipeline's name.", pattern=NAME_PATTERN, examples=["cost_usage"])]
PipelineFilter = Annotated[
    str | None,
    Query(description="Only this pipeline, also one that was removed.", pattern=NAME_PATTERN, examples=["orders"]),
]
Limit = Annotated[int, Query(description="How many at most.", ge=1, le=LIMIT_MAX)]
Cursor = Annotated[
    str | None,
    Query(
        description="`next_cursor` of the page before, with the same filters and order.",
        pattern=r"^[A-Za-z0-9_-]+$",
        max_length=2_000,
    ),
]


def asked(filters: Mapping[str, Any], *, sort: str | None, limit: int, cursor: str | None) -> ListQuery:
    """What a listing is asked for."""
    return ListQuery(filters=filters, sort=sort, cursor=cursor, limit=limit)


class KnownParameters:
    """A dependency of every route: its query has only parameters that OpenAPI declares, each once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], frozenset[str]] | None = None

    async def __call__(self, request: Request) -> None:
        given = [name for name, _ in request.query_params.multi_items()]
        if not given:
            return
        known = self._declared(request.app).get((request.scope["route"].path, request.method), frozenset())
        wrong = sorted({name for name in given if name not in known or given.count(name) > 1})
        if wrong:
            listed = ", ".join(sorted(known)) or "none"
            raise bad_request(
                f"the parameter {wrong[0][:100]!r} is not known here, or given twice",
                cure=f"Known: {listed}",
                errors=[
                    FieldProblem(place=f"query.{name[:100]}", message="not known, or given twice") for name in wrong
                ],
            )

    def _declared(self, app: FastAPI) -> dict[tuple[str, str], frozenset[str]]:
        if self._known is None:
            self._known = {
                (path, method.upper()): frozenset(
                    one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"
                )
                for path, operations in app.openapi()["paths"].items()
                for method, operation in operations.items()
            }
        return self._known
