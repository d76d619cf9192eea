"""Logging in and out, where tokens are configured."""

from typing import Annotated, Final

from fastapi import Form, Query, Request
from fastapi.responses import Response

from qupersync_extractor.interface.api.security import check_same_site, gatekeeper
from qupersync_extractor.interface.page.answering import LOGIN, goes_to, own_path, page_routes
from qupersync_extractor.interface.page.rendering import page

router = page_routes()
_FORBIDDEN: Final = 403
_Next = Annotated[str, Query(max_length=500)]


@router.get(LOGIN)
async def see_login(request: Request, next: _Next = "/") -> Response:  # noqa: A002  # the parameter's name
    """The form; where nobody needs a token, the overview."""
    if gatekeeper(request).open:
        return goes_to(request, "/")
    return page(request, "login.html", {"next": own_path(next), "refused": None}, caller=None)


@router.post(LOGIN)
async def log_in(
    request: Request,
    secret: Annotated[str, Form(max_length=4096)] = "",
    next: Annotated[str, Form(max_length=500)] = "/",  # noqa: A002
) -> Response:
    """Begins a session for whoever knows a secret."""
    await check_same_site(request)
    answer = goes_to(request, own_path(next))
    if gatekeeper(request).open or gatekeeper(request).log_in(secret, request, answer) is not None:
        return answer
    refused = "This is the secret of no token that is in force"
    return page(request, "login.html", {"next": own_path(next), "refused": refused}, caller=None, status=_FORBIDDEN)


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Ends the session of this browser."""
    await check_same_site(request, gatekeeper(request).caller(request))
    answer = goes_to(request, LOGIN)
    gatekeeper(request).log_out(request, answer)
    return answer
