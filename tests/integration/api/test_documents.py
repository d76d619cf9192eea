"""docs/api.md: every call in it is one that the API knows, and does what it says."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.integration.api.conftest import OPERATOR, Served

from qupersync_shared.runtime.settings import Configuration

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text("utf-8")
KNOWN = "cost_usage"
OF_LOADERS = ("group=", "/redrive", "/discard")  # none runs here
ANSWERS = {200, 202, 404, 409}


@dataclass(slots=True)
class Call:
    url: str = ""
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None


def calls() -> list[Call]:
    """The page's curl commands."""
    found = []
    for line in re.findall(r"^curl .*$", PAGE, re.MULTILINE):
        words = iter(shlex.split(line.replace("$Q", "").replace("$T", OPERATOR))[1:])
        call = Call()
        for word in words:
            match word:
                case "-X":
                    call.method = next(words)
                case "-H":
                    name, _, value = next(words).partition(": ")
                    call.headers[name] = value
                case "-d":
                    call.body = next(words)
                case _:
                    call.url = word
        found.append(call)
    return found


@pytest.fixture
def configuration(configuration: Configuration) -> Configuration:
    known = next(section for name, section in configuration.pipelines.items() if name.startswith("orders"))
    return configuration.model_copy(update={"pipelines": {**configuration.pipelines, KNOWN: known}})


async def test_the_pages_calls_are_answered(served: Served) -> None:
    asked = calls()
    assert len(asked) > 20
    for call in asked:
        if not any(part in call.url for part in OF_LOADERS):
            answer = await served.anybody.request(call.method, call.url, headers=call.headers, content=call.body)
            assert answer.status_code in ANSWERS, (call, answer.text)
            told = answer.json().get("type", "") if answer.status_code >= 400 else ""
            assert told.rpartition(":")[2] in {"", "stale-version", "never-run", "not-found"}, (call, answer.text)


async def test_the_page_has_every_path_and_no_other(served: Served) -> None:
    paths = served.app.openapi()["paths"]
    named = set()
    for call in calls():
        parts = urlsplit(call.url)
        path = next(p for p in sorted(paths, key=lambda p: p.count("{")) if _fits(p, parts.path))
        operation = paths[path][call.method.lower()]
        declared = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
        assert {name for name, _ in parse_qsl(parts.query)} <= declared, call
        if call.body is not None:
            json.loads(call.body)
            assert "requestBody" in operation, call
        named.add((call.method.lower(), path.replace("dead-letters", "quarantine")))
    known = {(m, path.replace("dead-letters", "quarantine")) for path, ops in paths.items() for m in ops}
    assert known == named


def _fits(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) is not None
