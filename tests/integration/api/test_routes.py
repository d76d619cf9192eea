"""Each endpoint over real servers: what it answers, what it refuses, and that what it does is done."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from tests.integration.api.conftest import BASE, OPERATOR, RUNS, Served

from qupersync_extractor.application.actions import LISTING as ACTIONS
from qupersync_extractor.application.ledger import LISTING as PAGES
from qupersync_extractor.application.runs import LISTING as RUNS_LISTING
from qupersync_shared.kernel.ids import PipelineName


def is_problem(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["type"] == f"urn:qupersync:problem:{kind}", found
    return found


async def everything(client: httpx.AsyncClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = await client.get(f"{BASE}{path}", params={**query, **({"cursor": cursor} if cursor else {})})
        assert page.status_code == 200, page.text
        found += page.json()["items"]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            return found


# -------------------------------------------------------------------------------------------------------------- status


async def test_status_is_the_whole_document_and_is_not_sent_twice(served: Served) -> None:
    response = await served.viewer.get(f"{BASE}/status")
    document = response.json()
    assert response.status_code == 200
    assert set(document["pipelines"]) == set(served.configuration.pipelines)
    assert {name: probe["verdict"] for name, probe in document["probes"].items()} == {"nats": "ok", "extractor": "ok"}
    again = await served.viewer.get(f"{BASE}/status", headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


async def test_jobs_tell_state_last_run_and_lag(served: Served) -> None:
    jobs = {job["id"]: job for job in (await served.viewer.get(f"{BASE}/jobs")).json()["jobs"]}
    assert set(jobs) == set(served.configuration.pipelines)
    orders = jobs[served.orders]
    newest = (await everything(served.viewer, "/history", pipeline=served.orders))[0]
    assert orders["last_run"] == newest
    assert orders["control"]["version"] == 1
    assert "freshness_seconds" in orders["lag"]
    assert jobs[served.fresh]["control"] is None

    one = await served.viewer.get(f"{BASE}/jobs/{served.orders}")
    assert one.headers["etag"] == '"1"'
    assert one.json()["id"] == served.orders
    told = is_problem(await served.viewer.get(f"{BASE}/jobs/nobody"), 404, "unknown-pipeline")
    assert served.orders in told["cure"]


# ------------------------------------------------------------------------------------------------------------- actions


async def test_pause_and_resume_are_seen_at_once_and_recorded(served: Served) -> None:
    path = f"{BASE}/jobs/{served.orders}"
    await served.viewer.get(path)
    paused = await served.operator.post(f"{path}/pause", json={"reason": "the warehouse moves"})
    assert paused.status_code == 200, paused.text
    assert paused.json()["updated_by"] == "ann"
    assert paused.headers["etag"] == '"2"'
    job = (await served.viewer.get(path)).json()
    assert (job["state"], job["control"]["reason"]) == ("paused", "the warehouse moves")

    resumed = await served.operator.post(f"{path}/resume")
    assert (resumed.json()["paused"], resumed.headers["etag"]) == (False, '"3"')
    deeds = await everything(served.viewer, "/actions", pipeline=served.orders)
    assert [(deed["action"], deed["by"], deed["reason"]) for deed in deeds] == [
        ("resume", "ann", None),
        ("pause", "ann", "the warehouse moves"),
    ]


@pytest.mark.parametrize("said", [{"json": {"version": 1}}, {"headers": {"If-Match": '"1"'}}])
async def test_of_two_who_decide_at_once_one_is_told(served: Served, said: dict[str, Any]) -> None:
    path = f"{BASE}/jobs/{served.orders}/pause"
    assert (await served.operator.post(path, **said)).status_code == 200
    is_problem(await served.operator.post(path, **said), 409, "stale-version")
    both = {"json": {"version": 2}, "headers": {"If-Match": '"3"'}}
    is_problem(await served.operator.post(path, **both), 400, "bad-request")
    assert (await served.operator.post(path, headers={"If-Match": "*"})).status_code == 200


async def test_trigger_asks_for_one_or_all(served: Served) -> None:
    answer = await served.operator.post(f"{BASE}/trigger", json={"job_id": served.orders, "mode": "snapshot"})
    assert answer.status_code == 202
    assert answer.json() == {"requested": [served.orders], "mode": "snapshot", "waiting": []}
    request = await served.stores.registry.run_request(PipelineName(served.orders))
    assert request is not None
    assert request.mode == "snapshot"

    told = is_problem(await served.operator.post(f"{BASE}/trigger", json={"job_id": served.fresh}), 409, "never-run")
    assert "qupersync-extractor run" in told["cure"]
    is_problem(await served.operator.post(f"{BASE}/trigger"), 409, "never-run")
    assert await served.stores.registry.run_request(PipelineName(served.costs)) is None, "nothing is asked for then"
    await served.stores.registry.register(PipelineName(served.fresh), 2)
    assert len((await served.operator.post(f"{BASE}/trigger")).json()["requested"]) == 3


async def test_a_paused_pipeline_that_is_triggered_waits_and_says_so(served: Served) -> None:
    await served.operator.post(f"{BASE}/jobs/{served.orders}/pause")
    answer = await served.operator.post(f"{BASE}/trigger", json={"job_id": served.orders})
    assert answer.json()["waiting"] == [served.orders]


async def test_reset_begins_a_log_and_raises_the_version(served: Served) -> None:
    answer = await served.operator.post(f"{BASE}/jobs/{served.orders}/reset", json={"version": 1, "reason": "mended"})
    assert answer.json() == {"pipeline": served.orders, "log": 2, "lanes": 2, "version": 2}
    is_problem(
        await served.operator.post(f"{BASE}/jobs/{served.orders}/reset", json={"version": 1}), 409, "stale-version"
    )
    (deed,) = await everything(served.viewer, "/actions", action="reset")
    assert (deed["by"], deed["reason"]) == ("ann", "mended")


async def test_viewers_look_and_do_not_act(served: Served) -> None:
    for path in ("/trigger", f"/jobs/{served.orders}/pause", f"/jobs/{served.orders}/reset"):
        is_problem(await served.viewer.post(f"{BASE}{path}"), 403, "forbidden")
        is_problem(await served.anybody.post(f"{BASE}{path}"), 401, "unauthorized")
    is_problem(await served.viewer.delete(f"{BASE}/history", params={"older_than_days": 1}), 403, "forbidden")
    assert await everything(served.viewer, "/actions") == []


# ----------------------------------------------------------------------------------------------------------- once only


async def test_the_same_request_acts_once_and_is_answered_the_same(served: Served) -> None:
    key, path = {"Idempotency-Key": "deploy-17"}, f"{BASE}/jobs/{served.orders}/reset"
    first = await served.operator.post(path, headers=key)
    again = await served.operator.post(path, headers=key)
    assert (first.status_code, first.json(), first.headers["etag"]) == (200, again.json(), again.headers["etag"])
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert first.json()["log"] == 2
    assert len(await everything(served.viewer, "/actions", action="reset")) == 1

    is_problem(await served.operator.post(path, headers=key, json={"reason": "another"}), 422, "key-reused")
    other = f"{BASE}/jobs/{served.costs}/reset"
    is_problem(await served.operator.post(other, headers=key), 422, "key-reused")


async def test_of_many_at_once_with_one_key_one_acts(served: Served) -> None:
    path = f"{BASE}/jobs/{served.orders}/reset"
    answers = await asyncio.gather(
        *(served.operator.post(path, headers={"Idempotency-Key": "at-once"}) for _ in range(6))
    )
    for answer in answers:
        if answer.status_code != 200:
            is_problem(answer, 409, "under-way")
            assert answer.headers["retry-after"] == "1"
    assert {answer.json()["log"] for answer in answers if answer.status_code == 200} == {2}
    assert len(await everything(served.viewer, "/actions", action="reset")) == 1


async def test_a_request_that_was_refused_may_be_made_again(served: Served) -> None:
    key, body = {"Idempotency-Key": "later"}, {"job_id": served.fresh}
    is_problem(await served.operator.post(f"{BASE}/trigger", headers=key, json=body), 409, "never-run")
    await served.stores.registry.register(PipelineName(served.fresh), 2)
    answer = await served.operator.post(f"{BASE}/trigger", headers=key, json=body)
    assert answer.status_code == 202
    assert "idempotency-replayed" not in answer.headers


# --------------------------------------------------------------------------------------------------------------- lists


async def test_history_is_filtered_sorted_and_paged(served: Served) -> None:
    runs = await everything(served.viewer, "/history", limit=5)
    assert len(runs) == 2 * RUNS
    assert [run["started_at"] for run in runs] == sorted((run["started_at"] for run in runs), reverse=True)
    upwards = await everything(served.viewer, "/history", limit=7, sort="started_at")
    assert [run["id"] for run in upwards] == [run["id"] for run in reversed(runs)]
    failed = await everything(served.viewer, "/history", limit=2, pipeline=served.orders, status="failed")
    assert {run["status"] for run in failed} == {"failed"}
    assert len(failed) == 3
    assert len(await everything(served.viewer, "/history", cause="due")) == RUNS
    middle = upwards[5]["started_at"]
    later = await everything(served.viewer, "/history", since=middle, limit=3)
    earlier = await everything(served.viewer, "/history", before=middle, limit=3)
    assert len(later) + len(earlier) == 2 * RUNS

    one = await served.viewer.get(f"{BASE}/history/{runs[0]['id']}")
    assert one.json() == runs[0]
    is_problem(await served.viewer.get(f"{BASE}/history/00000000-0000-7000-8000-000000000000"), 404, "not-found")


async def test_what_is_asked_wrongly_is_refused_and_not_ignored(served: Served) -> None:
    for path, query in (
        ("/history", {"pipline": served.orders}),
        ("/history", {"status": "odd"}),
        ("/history", {"sort": "rows"}),
        ("/history", {"limit": 0}),
        ("/history", {"limit": 1001}),
        ("/history", {"since": "yesterday"}),
        ("/history", {"pipeline": "No Name"}),
        ("/history", {"cause": "a\x00b"}),
        ("/history?limit=1&limit=2", None),
        ("/status", {"verbose": "1"}),
        ("/jobs", {"sort": "id"}),
        ("/ledger", {"state": "lost"}),
        ("/actions", {"action": "dance"}),
        ("/history/not-a-uuid", {}),
    ):
        told = is_problem(await served.viewer.get(f"{BASE}{path}", params=query), 400, "bad-request")
        assert told["detail"]
    for body in ({"mode": "odd"}, {"job": served.orders}, {"job_id": 5}, [], "x"):
        is_problem(await served.operator.post(f"{BASE}/trigger", json=body), 400, "bad-request")
    broken = await served.operator.post(f"{BASE}/trigger", content=b"{", headers={"Content-Type": "application/json"})
    is_problem(broken, 400, "bad-request")


async def test_a_cursor_goes_on_in_its_own_list_alone(served: Served) -> None:
    page = (await served.viewer.get(f"{BASE}/history", params={"limit": 2})).json()
    for query in (
        {"cursor": page["next_cursor"], "status": "failed"},
        {"cursor": page["next_cursor"], "sort": "started_at"},
        {"cursor": page["next_cursor"][:-2]},
        {"cursor": "abc"},
    ):
        is_problem(await served.viewer.get(f"{BASE}/history", params=query), 400, "bad-cursor")
    is_problem(await served.viewer.get(f"{BASE}/actions", params={"cursor": page["next_cursor"]}), 400, "bad-cursor")


async def test_the_ledger_says_where_pages_are(served: Served) -> None:
    pages = await everything(served.viewer, "/ledger", pipeline=served.orders, limit=3)
    assert [page["sequence"] for page in pages] == [7, 6, 5, 4, 3, 2, 1]
    where = (await served.viewer.get(f"{BASE}/ledger/{served.orders}")).json()
    assert where["pipeline"] == served.orders
    assert where["sentence"]
    is_problem(await served.viewer.get(f"{BASE}/ledger/nobody"), 404, "unknown-pipeline")


async def test_history_is_purged_by_age_and_that_is_recorded(served: Served) -> None:
    async with served.stores.engine.begin() as connection:
        old = """UPDATE qupersync.run SET started_at = started_at - interval '10 days',
                 ended_at = ended_at - interval '10 days' WHERE pipeline = :pipeline"""
        await connection.execute(text(old), {"pipeline": served.orders})
    answer = await served.operator.delete(f"{BASE}/history", params={"older_than_days": 9})
    assert answer.status_code == 200, answer.text
    assert answer.json()["removed"]["runs"] == RUNS
    assert {run["pipeline"] for run in await everything(served.viewer, "/history")} == {served.costs}
    (deed,) = await everything(served.viewer, "/actions")
    assert (deed["action"], deed["by"], deed["pipeline"]) == ("purge history", "ann", None)
    is_problem(await served.operator.delete(f"{BASE}/history"), 400, "bad-request")


async def test_actions_are_filtered(served: Served) -> None:
    for pipeline in (served.orders, served.costs):
        await served.operator.post(f"{BASE}/jobs/{pipeline}/pause")
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert len(await everything(served.viewer, "/actions", limit=1)) == 2
    assert len(await everything(served.viewer, "/actions", by="ann", action="pause", before=soon)) == 2
    assert await everything(served.viewer, "/actions", since=soon) == []
    assert await everything(served.viewer, "/actions", by="bob") == []


def test_lists_are_sorted_by_what_their_listings_allow(served: Served) -> None:
    paths = served.app.openapi()["paths"]
    for path, listing in (("/history", RUNS_LISTING), ("/ledger", PAGES), ("/actions", ACTIONS)):
        declared = {one["name"]: one["schema"] for one in paths[f"{BASE}{path}"]["get"]["parameters"]}
        assert set(declared["sort"]["enum"]) == {f"{sign}{name}" for name in listing.sorts for sign in ("", "-")}
        assert set(listing.filters) - {"id"} == set(declared) - {"sort", "limit", "cursor"}


# -------------------------------------------------------------------------------------------------------------- probes


async def test_probes_need_no_token(served: Served) -> None:
    assert (await served.anybody.get("/health")).json()["status"] == "ok"
    ready = await served.anybody.get("/ready")
    assert ready.status_code == 200, ready.text
    assert set(ready.json()["checks"]) == {"source", "outbox", "nats", "progress"}
    await served.viewer.get(f"{BASE}/jobs/{served.orders}")
    counted = (await served.anybody.get("/metrics")).text
    assert f'route="{BASE}/jobs/{{job_id}}"' in counted
    assert "process_cpu_seconds_total" in counted
    assert served.orders not in counted


@pytest.mark.parametrize("deed", ["pause", "resume"])
async def test_nobody_decides_of_a_pipeline_that_no_extractor_has_noted(served: Served, deed: str) -> None:
    answer = await served.operator.post(f"{BASE}/jobs/{served.fresh}/{deed}")
    assert "qupersync-extractor run" in is_problem(answer, 409, "never-run")["cure"]


async def test_a_request_is_told_from_others_however_odd_its_body(served: Served) -> None:
    place, nested = f"{BASE}/history?older_than_days=400", b"[" * 60_000
    key = {"Idempotency-Key": "odd"}
    done = await served.operator.request("DELETE", place, headers=key, content=nested)
    again = await served.operator.request("DELETE", place, headers=key, content=nested)
    is_problem(await served.operator.request("DELETE", place, headers=key, content=nested[1:]), 422, "key-reused")
    assert (done.status_code, again.headers["idempotency-replayed"]) == (200, "true")

    page = await served.anybody.post("/login", data={"secret": OPERATOR})
    token = re.search(r'name="csrf_token" value="([^"]+)"', (await served.anybody.get("/")).text)
    assert page.status_code == 303
    assert token is not None
    form = {"headers": {"Idempotency-Key": "form"}, "data": {"csrf_token": token[1]}}
    assert (await served.anybody.request("DELETE", place, **form)).status_code == 200
