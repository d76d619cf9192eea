"""The status page over a real outbox database and NATS: what it shows of them, and that its forms act on them."""

import re

import httpx
import pytest
from tests.integration.api.conftest import OPERATOR, RUNS, VIEWER, Served

from qupersync_shared.kernel.ids import PipelineName


async def see(client: httpx.AsyncClient, path: str) -> str:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text[:2000]
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    return answer.text


async def log_in(served: Served, secret: str) -> httpx.AsyncClient:
    answer = await served.anybody.post("/login", data={"secret": secret})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    return served.anybody


async def form(browser: httpx.AsyncClient, path: str) -> dict[str, str]:
    """The hidden fields of the form that asks."""
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', (await see(browser, path))))


async def test_every_page_shows_what_the_servers_hold(served: Served) -> None:
    overview = await see(served.viewer, "/")
    pipeline = await see(served.viewer, f"/pipelines/{served.orders}")
    history = await see(served.viewer, f"/history?pipeline={served.orders}")
    series = (await served.viewer.get(f"/fragments/pipelines/{served.orders}/series")).json()

    assert all(name in overview for name in served.configuration.pipelines)
    assert history.count("incremental") == RUNS
    assert f">1/{7}</th>" in pipeline, "the newest page of the ledger"
    assert sum(series["minutes"]["rows"]) == 70
    for path in ("/parked", "/rebuilds", "/fragments/overview", f"/fragments/pipelines/{served.orders}"):
        await see(served.viewer, path)


async def test_a_pause_from_the_page_is_in_force_and_recorded(served: Served) -> None:
    browser = await log_in(served, OPERATOR)
    place = f"/pipelines/{served.orders}/pause"
    fields = await form(browser, place)

    forged = await browser.post(place, data={**fields, "csrf_token": "x" * 43})
    done = await browser.post(place, data={**fields, "reason": "month's end"})
    again = await browser.post(f"/pipelines/{served.orders}/resume", data=fields)

    assert forged.status_code == 403
    assert done.headers["location"] == f"/pipelines/{served.orders}?done=pause"
    assert again.status_code == 409, "the form is older than the pause"
    shown = await see(browser, done.headers["location"])
    assert f"{served.orders} is paused" in shown
    assert "month&#39;s end" in shown
    async with served.stores.controls() as work:
        control = await work.controls.get(PipelineName(served.orders))
    assert control is not None
    assert (control.paused, control.updated_by) == (True, "ann")
    assert "month&#39;s end" in await see(browser, "/history")


@pytest.mark.parametrize("deed", ["pause", "resume", "trigger", "reset"])
async def test_viewers_do_nothing(served: Served, deed: str) -> None:
    browser = await log_in(served, VIEWER)
    token = (await form(browser, "/"))["csrf_token"]

    answer = await browser.post(f"/pipelines/{served.orders}/{deed}", data={"csrf_token": token, "sure": "yes"})

    assert answer.status_code == 403
    assert "data-dialog" not in await see(browser, f"/pipelines/{served.orders}")
