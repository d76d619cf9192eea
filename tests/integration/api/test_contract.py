"""Fuzzing: whatever is asked over HTTP, the API answers as its own OpenAPI document says, and never breaks."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.integration.api.conftest import OPERATOR, Served, serving

from qupersync_extractor.infrastructure.jetstream.parked import ParkedInTargets, RebuildsInTargets
from qupersync_shared.runtime.http import serve
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.settings import Configuration
from qupersync_shared.runtime.settings.control import ListenSection

EXAMPLES = 10
LOADERS = ("/quarantine", "/dead-letters", "/rebuilds")
SEED = int(os.environ["QUPERSYNC_E2E_SEED"])  # printed by every run
LIMIT_SECONDS = 120.0
KNOWN = "cost_usage"
# What no schema can say of a request, and what is told then; besides foreign cursors and keys.
BEYOND_SCHEMAS = {
    "If-Match and version say different things",
    "dead letters are of a loader group",
    "body: Value error, say which: ids, or a reason, or everything: true",
}


@dataclass(slots=True)
class ServedInThread:
    """The API on a socket, in an event loop of its own."""

    configuration: Configuration
    port: int = 0
    error: BaseException | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _stop: Stop | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._live, name="api", daemon=True)
        self._thread.start()
        assert self._ready.wait(LIMIT_SECONDS)
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.request)
        assert self._thread is not None
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive()

    def _live(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  # told to whoever waits
            self.error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), Stop()

        def told(port: int) -> None:
            self.port = port
            self._ready.set()

        async with serving(self.configuration) as served:
            _without_patience(served)
            await serve(served.app, ListenSection(port=0), self._stop, name="fuzzed", told=told)


def _without_patience(served: Served) -> None:
    """No loader runs here: whoever asks one is told so at once, not after a second each time."""
    desk, connection = served.app.state.desk, served.shop.connection
    parked = replace(desk.parked.parked, targets=ParkedInTargets(connection, patience_seconds=0))
    served.app.state.desk = replace(
        desk,
        parked=replace(desk.parked, parked=parked),
        rebuilds=RebuildsInTargets(connection, patience_seconds=0),
    )


@pytest.fixture
def configuration(configuration: Configuration) -> Configuration:
    """The same, with a pipeline of the name that the document's examples have."""
    known = next(section for name, section in configuration.pipelines.items() if name.startswith("orders"))
    return configuration.model_copy(update={"pipelines": {**configuration.pipelines, KNOWN: known}})


@pytest.fixture
def api_schema(configuration: Configuration) -> Iterator[BaseSchema]:
    running = ServedInThread(configuration)
    running.start()
    schema = schemathesis.openapi.from_url(
        f"http://127.0.0.1:{running.port}/api/v1/openapi.json", headers={"Authorization": f"Bearer {OPERATOR}"}
    )
    yield schema
    running.stop()


def test_no_request_breaks_the_api_or_its_contract(api_schema: BaseSchema) -> None:
    fuzzed = []
    for result in api_schema.get_all_operations():
        operation = result.ok()
        for mode in GenerationMode:
            fuzz(operation, mode)
        fuzzed.append(f"{operation.method} {operation.path}")
    assert len(fuzzed) > 20, fuzzed


def fuzz(operation: APIOperation, mode: GenerationMode) -> None:
    """Requests as the document declares them, or, negative, as it does not."""
    unanswered = any(part in operation.path for part in LOADERS)
    excluded = [positive_data_acceptance, *([not_a_server_error] if unanswered else [])]

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE and "job_id" in case.path_parameters:
            case.path_parameters["job_id"] = KNOWN
        response = case.call_and_validate(headers={"Authorization": f"Bearer {OPERATOR}"}, excluded_checks=excluded)
        if response.status_code >= 500:
            assert response.status_code == 503, response.text
            assert "no loader of group" in response.json()["detail"]
        if mode is GenerationMode.POSITIVE and response.status_code in {400, 413, 422}:
            problem = response.json()
            told = (problem["type"].rpartition(":")[2], problem["detail"])
            assert told[0] in {"bad-cursor", "key-reused"} or told[1] in BEYOND_SCHEMAS, problem

    # Some operations can be asked for in no wrong way.
    with contextlib.suppress(*([Unsatisfiable] if mode is GenerationMode.NEGATIVE else [])):
        ask()
