"""Sessions of the status page: signed, with an end, and void as soon as the token they began with is.

The key is derived from the token's digest: every process with the same secret files accepts the same sessions, and
nothing is stored.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from qupersync_extractor.interface.api.tokens import Token, Tokens

COOKIE: Final = "qupersync_session"
LASTS: Final = timedelta(hours=12)
_PARTS: Final = 4
_CHARACTERS_MAX: Final = 300


def begin(token: Token, *, now: datetime, lasts: timedelta = LASTS) -> str:
    """A session of the token's owner, to be kept in the cookie."""
    claim = f"{token.name}.{int((now + lasts).timestamp())}.{secrets.token_urlsafe(16)}"
    return f"{claim}.{_signed(token, 'session', claim)}"


def token_of(session: str, tokens: Tokens, *, now: datetime) -> Token | None:
    """Whose session it is; None where it was forged, is over, or its token is in force no more."""
    parts = session.split(".") if len(session) <= _CHARACTERS_MAX and session.isascii() else []
    if len(parts) != _PARTS:
        return None
    name, until, _, signature = parts
    token = tokens.named(name)
    if token is None:
        return None
    claim = session[: -len(signature) - 1]
    if not hmac.compare_digest(_signed(token, "session", claim), signature):
        return None
    return token if now < datetime.fromtimestamp(int(until), UTC) else None


def csrf_token(token: Token, session: str) -> str:
    """What a form of this session carries: another site can make a browser send the cookie, but does not know this."""
    return _signed(token, "csrf", session)


def is_csrf_token(given: str, token: Token, session: str) -> bool:
    """Whether it is that of this session."""
    return given.isascii() and hmac.compare_digest(csrf_token(token, session), given)


def _signed(token: Token, use: str, text: str) -> str:
    key = hmac.digest(token.digest, f"qupersync {use}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(hmac.digest(key, text.encode(), hashlib.sha256)).decode().rstrip("=")
