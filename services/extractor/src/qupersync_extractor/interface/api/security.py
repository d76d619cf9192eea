"""Who asks, and whether they may: a bearer token, or the status page's session; without tokens, this machine.

Browsers send what other sites tell them to. So whatever changes something must come from a page of our own, and, where
the caller is known by a cookie, carry that session's CSRF token.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection
from starlette.responses import Response

from qupersync_extractor.interface.api import sessions
from qupersync_extractor.interface.api.problems import ProblemError
from qupersync_extractor.interface.api.tokens import Role, Token, Tokens

LOCAL: Final = "local"
CSRF_HEADER: Final = "x-csrf-token"
CSRF_FIELD: Final = "csrf_token"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks; `name` is what is written down. `csrf_token` is empty unless a session's cookie told who it is."""

    name: str
    role: Role
    csrf_token: str = ""
    token: Token | None = None
    session: str | None = None

    @property
    def may_act(self) -> bool:
        """Whether more than looking is allowed."""
        return self.role.may(Role.OPERATOR)


class Gatekeeper:
    """Tells callers apart by the configured tokens. Without any, whoever reaches the port is this machine's user."""

    def __init__(self, tokens: Tokens, *, clock: Callable[[], datetime] | None = None) -> None:
        self.tokens = tokens
        self._clock = clock or (lambda: datetime.now(UTC))

    @property
    def open(self) -> bool:
        """Whether nobody needs a token."""
        return not self.tokens.configured

    def caller(self, request: HTTPConnection) -> Caller | None:
        """Who asks; None where nobody can say. A bearer token that is wrong is not made good by a cookie."""
        if self.open:
            return Caller(name=LOCAL, role=Role.OPERATOR)
        given = request.headers.get("authorization")
        if given is not None:
            scheme, _, secret = given.partition(" ")
            token = self.tokens.of(secret.strip()) if scheme.lower() == "bearer" else None
            return None if token is None else Caller(name=token.name, role=token.role, token=token)
        session = request.cookies.get(sessions.COOKIE)
        token = None if session is None else sessions.token_of(session, self.tokens, now=self._clock())
        if session is None or token is None:
            return None
        return Caller(
            name=token.name,
            role=token.role,
            csrf_token=sessions.csrf_token(token, session),
            token=token,
            session=session,
        )

    def log_in(self, secret: str, request: HTTPConnection, response: Response) -> Caller | None:
        """Begins a session for whoever knows a token's secret, kept in a cookie; None where it is nobody's."""
        token = self.tokens.of(secret.strip())
        if token is None:
            return None
        session = sessions.begin(token, now=self._clock())
        response.set_cookie(
            sessions.COOKIE,
            session,
            max_age=int(sessions.LASTS.total_seconds()),
            path="/",
            secure=_is_https(request),
            httponly=True,
            samesite="strict",
        )
        return Caller(name=token.name, role=token.role, token=token, session=session)

    def log_out(self, request: HTTPConnection, response: Response) -> None:
        """Takes the cookie away."""
        response.delete_cookie(sessions.COOKIE, path="/", secure=_is_https(request), httponly=True, samesite="strict")

    async def check(self, request: Request, needed: Role) -> Caller:
        """The caller, who may do what asks for this role; else a ProblemError that says why not."""
        caller = self.caller(request)
        if caller is None:
            raise ProblemError(
                401,
                "unauthorized",
                "A token is needed",
                "the token is wrong, or the session is over" if _gave_something(request) else "no token was given",
                cure="Send `Authorization: Bearer …` with a secret of control.tokens, or log in on the status page",
                headers={"WWW-Authenticate": 'Bearer realm="qupersync"'},
            )
        if request.method not in SAFE:
            await check_same_site(request, caller)
        if not caller.role.may(needed):
            raise ProblemError(
                403,
                "forbidden",
                "The token does not allow it",
                f"{caller.name} is a {caller.role}, and this takes an {needed}",
                cure="Ask an operator, or raise the role of the token in control.tokens",
            )
        return caller


async def check_same_site(request: Request, caller: Caller | None = None) -> None:
    """ProblemError where another site made a browser ask; with a caller known by a cookie, also without its CSRF
    token in the header or the form.
    """
    fetched = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if fetched not in {None, "same-origin", "none"} or (origin is not None and not _is_ours(origin, request)):
        raise _foreign("another site asked for it")
    if caller is None or caller.session is None or caller.token is None:
        return
    given = request.headers.get(CSRF_HEADER)
    if given is None and request.headers.get("content-type", "").lower().startswith(_FORMS):
        field = (await request.form()).get(CSRF_FIELD)
        given = field if isinstance(field, str) else None
    if given is None or not sessions.is_csrf_token(given, caller.token, caller.session):
        raise _foreign("its CSRF token is missing, or of another session")


def _is_ours(origin: str, request: Request) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == request.headers.get("host", "").lower()


def _foreign(why: str) -> ProblemError:
    title = "The request did not come from here"
    return ProblemError(403, "cross-site", title, why, cure="Load the page again; scripts send a bearer token")


def _is_https(request: HTTPConnection) -> bool:
    """Whether the browser speaks https, be it with a proxy in front: whoever lies gets a cookie that is of no use."""
    forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return (forwarded or request.url.scheme) == "https"


def _gave_something(request: Request) -> bool:
    return "authorization" in request.headers or sessions.COOKIE in request.cookies


def gatekeeper(request: HTTPConnection) -> Gatekeeper:
    """The application's gatekeeper."""
    found: Gatekeeper = request.app.state.gatekeeper
    return found


_bearer = HTTPBearer(auto_error=False, description="A secret of `control.tokens`. Without tokens none is needed.")
_Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


def _needs(role: Role) -> Callable[[Request, HTTPAuthorizationCredentials | None], Awaitable[Caller]]:
    async def checked(request: Request, _declared: _Bearer) -> Caller:
        return await gatekeeper(request).check(request, role)

    return checked


Viewer = Annotated[Caller, Depends(_needs(Role.VIEWER))]
Operator = Annotated[Caller, Depends(_needs(Role.OPERATOR))]
