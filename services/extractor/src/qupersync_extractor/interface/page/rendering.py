"""Templates into answers: everything is escaped, and nothing in a page may come from anywhere but here."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from qupersync_extractor.interface.api.security import Caller
from qupersync_extractor.interface.page import words
from qupersync_extractor.interface.page.assets import address
from qupersync_extractor.interface.page.series import KEPT_MINUTES

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@cache
def environment() -> Environment:
    """The templates, with the page's words as filters; a name that is not there is an error, never a blank."""
    found = Environment(
        loader=PackageLoader("qupersync_extractor.interface.page"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "ago": words.ago,
        "clock": words.clock,
        "counted": words.counted,
        "due": words.due,
        "key": words.key,
        "moment": words.read_moment,
        "number": words.number,
        "rate": words.rate,
        "seconds": words.age,
        "seconds_exact": words.seconds_exact,
        "share": words.share,
        "short_moment": words.short_moment,
        "size": words.size,
        "span": words.span,
        "told": words.told,
    }
    found.globals |= {"kept_minutes": KEPT_MINUTES, "version": version("qupersync-extractor")}
    return found


def page(
    request: Request,
    template: str,
    shown: Mapping[str, Any],
    *,
    caller: Caller | None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """A whole page or a part of one, with its content policy."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    context = {
        "root": root,
        "here": request.url.path.removeprefix(root) or "/",
        "visitor": caller,
        "now": datetime.now(UTC),
        "asset": lambda name: address(name, root),
        "done": None,
        **shown,
    }
    return HTMLResponse(
        environment().get_template(template).render(context),
        status_code=status,
        headers={"content-security-policy": POLICY, "cache-control": "no-store", **(headers or {})},
    )
