"""What waits for a person, over HTTP: the source's quarantine, and groups whose loaders do not answer."""

from typing import Any

import pytest
from tests.integration.api.conftest import BASE, Served
from tests.integration.api.test_routes import is_problem

from qupersync_extractor.application.quarantine import WithheldRow
from qupersync_shared.kernel.ids import EventId, PipelineName, uuid7


async def withheld(served: Served, keys: int) -> None:
    """So many rows of the pipeline that no event could carry."""
    pipeline = PipelineName(served.orders)
    rows = [
        WithheldRow(pipeline=pipeline, key=f'["{n}"]', reason="a value is too large", event_id=EventId(uuid7()))
        for n in range(keys)
    ]
    async with served.stores.unit_of_work() as work:
        await work.quarantine.add(rows)
        await work.commit()


async def test_withheld_rows_are_listed_paged_and_given_up(served: Served) -> None:
    await withheld(served, 5)
    place = {"pipeline": served.orders}
    where = (await served.viewer.get(f"{BASE}/parked")).json()["items"]
    assert where == [{"pipeline": served.orders, "group": None, "quarantined": 5, "dead_letters": 0}]
    first = (await served.viewer.get(f"{BASE}/quarantine", params={**place, "limit": 3})).json()
    rest = await served.viewer.get(f"{BASE}/quarantine", params={**place, "limit": 3, "cursor": first["next_cursor"]})
    ids = [row["id"] for row in (*first["items"], *rest.json()["items"])]
    assert len(set(ids)) == 5
    reasons = (await served.viewer.get(f"{BASE}/quarantine/reasons", params=place)).json()
    assert (reasons["total"], reasons["items"][0]["count"]) == (5, 5)
    one = (await served.viewer.get(f"{BASE}/quarantine/{ids[0]}", params=place)).json()
    assert one["reason"] == "a value is too large"
    is_problem(await served.viewer.get(f"{BASE}/quarantine/nothing", params=place), 404, "not-found")

    chosen = {**place, "ids": ids[:2]}
    is_problem(await served.viewer.post(f"{BASE}/quarantine/discard", json=chosen), 403, "forbidden")
    key = {"Idempotency-Key": "once"}
    redriven = await served.operator.post(f"{BASE}/quarantine/redrive", json=chosen, headers=key)
    assert (redriven.status_code, redriven.json()["asked"]) == (202, 2)
    discarded = await served.operator.post(f"{BASE}/quarantine/discard", json={**chosen, "why": "test"})
    assert discarded.json() == {"discarded": 2}
    everything = {**place, "everything": True}
    assert (await served.operator.post(f"{BASE}/quarantine/discard", json=everything)).json() == {"discarded": 3}
    deeds = (await served.viewer.get(f"{BASE}/actions", params=place)).json()["items"]
    assert [(deed["action"], deed["by"]) for deed in deeds] == [
        ("discard", "ann"),
        ("discard", "ann"),
        ("redrive", "ann"),
    ]
    assert deeds[1]["reason"] == "test"


@pytest.mark.parametrize("body", [{}, {"ids": ["1"], "everything": True}, {"ids": []}, {"everything": False}])
async def test_a_choice_is_said_in_one_way(served: Served, body: dict[str, Any]) -> None:
    for what in ("redrive", "discard"):
        answer = await served.operator.post(f"{BASE}/quarantine/{what}", json={"pipeline": served.orders, **body})
        is_problem(answer, 400, "bad-request")


async def test_a_group_whose_loaders_are_away_is_a_passing_trouble(served: Served) -> None:
    place = {"pipeline": served.orders, "group": "main"}
    answer = await served.viewer.get(f"{BASE}/dead-letters", params=place)
    told = is_problem(answer, 503, "unavailable")
    assert "no loader of group main" in told["detail"]
    assert answer.headers["retry-after"]
    is_problem(await served.viewer.get(f"{BASE}/dead-letters", params={"pipeline": served.orders}), 400, "bad-request")
