"""How the page answers what goes wrong: with a page that says what it is and what mends it, or with the login."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute

from qupersync_extractor.interface.api.problems import ProblemError, bad_request, problem_of
from qupersync_extractor.interface.api.security import gatekeeper
from qupersync_extractor.interface.page.rendering import page
from qupersync_shared.kernel.errors import QupersyncError

LOGIN: Final = "/login"
_Route = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route whose problems are shown to people; callers without a session are sent to log in."""

    def get_route_handler(self) -> _Route:
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handle(request)
            except ProblemError as error:
                return _shown(request, error)
            except QupersyncError as error:
                return _shown(request, problem_of(error))
            except RequestValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"])
                return _shown(request, bad_request(f"{place}: {first['msg']}"))

        return answered


def page_routes() -> APIRouter:
    """A router for pages: no part of the API's document."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)


def root_of(request: Request) -> str:
    """The path below which the application lives; mostly empty."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def goes_to(request: Request, path: str) -> RedirectResponse:
    """Sends the browser to another page, to be asked for with GET."""
    return RedirectResponse(f"{root_of(request)}{path}", status_code=HTTPStatus.SEE_OTHER)


def is_part(request: Request) -> bool:
    """Whether a script asks, for a part of the page."""
    return request.headers.get("hx-request") == "true"


def own_path(path: str) -> str:
    """The path where it is one of this server's; else the overview: nobody is sent elsewhere by a link to here."""
    fine = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if fine else "/"


def _shown(request: Request, error: ProblemError) -> Response:
    if error.problem.status == HTTPStatus.UNAUTHORIZED:
        return _login(request)
    caller = gatekeeper(request).caller(request)
    shown = {"problem": error.problem}
    return page(request, "problem.html", shown, caller=caller, status=error.problem.status, headers=error.headers)


def _login(request: Request) -> Response:
    root = root_of(request)
    if is_part(request):
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": f"{root}{LOGIN}"})
    back = request.url.path.removeprefix(root) if request.method == "GET" else "/"
    return goes_to(request, f"{LOGIN}?next={quote(own_path(back))}")
