"""What the page does: it asks first, it knows who asks, and another site asks in vain."""

from datetime import UTC, datetime

import pytest
from tests.unit.extractor.page.world import HOST, OPERATOR, VIEWER, PageWorld, parked_row

from qupersync_extractor.application.parked import Place
from qupersync_shared.contracts.parked import ParkedKind
from qupersync_shared.kernel.ids import GroupName, PipelineName

COST = PipelineName("cost_usage")
MAIN = Place(pipeline=COST, group=GroupName("main"))


def now() -> datetime:
    return datetime.now(UTC)


async def test_pausing_asks_first_and_is_recorded(world: PageWorld) -> None:
    asked = await world.see("/pipelines/cost_usage/pause")
    done = await world.browser.post("/pipelines/cost_usage/pause", data={"reason": "maintenance", "version": "1"})
    late = await world.browser.post("/pipelines/cost_usage/resume", data={"version": "1"})

    assert "Pause cost_usage" in asked
    assert done.headers["location"] == "/pipelines/cost_usage?done=pause"
    assert "cost_usage is paused" in await world.see(done.headers["location"])
    assert world.store.controls[COST].paused
    assert late.status_code == 409
    assert "Somebody else has decided meanwhile" in late.text
    assert [(one.action, one.by, one.reason) for one in world.store.actions.values()] == [
        ("pause", "local", "maintenance")
    ]


async def test_resetting_needs_its_tick(world: PageWorld) -> None:
    unsure = await world.browser.post("/pipelines/cost_usage/reset", data={})
    sure = await world.browser.post("/pipelines/cost_usage/reset", data={"sure": "yes"})

    assert unsure.status_code == 400
    assert sure.status_code == 303
    assert world.store.pipelines[COST].state.log == 2


async def test_triggering_with_a_mode(world: PageWorld) -> None:
    done = await world.browser.post("/pipelines/cost_usage/trigger", data={"mode": "snapshot"})

    assert done.status_code == 303
    assert [one.details for one in world.store.actions.values()] == [{"mode": "snapshot"}]


async def test_a_dialog_gets_the_form_alone(world: PageWorld) -> None:
    part = await world.browser.get("/pipelines/cost_usage/pause", headers={"HX-Request": "true"})

    assert part.text.lstrip().startswith("<form")
    assert 'formmethod="dialog"' in part.text


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)
async def test_another_site_may_not_act(world: PageWorld, headers: dict[str, str]) -> None:
    for path in ("/pipelines/cost_usage/pause", "/parked/discard", "/login"):
        answer = await world.browser.post(
            path,
            data={"sure": "yes", "pipeline": "cost_usage", "where": "main", "kind": "quarantine", "id": "7"},
            headers=headers,
        )
        assert answer.status_code == 403, path
    assert not world.store.actions


# ------------------------------------------------------------------------------------------------------- logging in


async def test_whoever_has_no_session_is_sent_to_log_in(guarded: PageWorld) -> None:
    whole = await guarded.browser.get("/pipelines/cost_usage")
    part = await guarded.browser.get("/fragments/overview", headers={"HX-Request": "true"})
    wrong = await guarded.browser.post("/login", data={"secret": "something else entirely"})

    assert (whole.status_code, whole.headers["location"]) == (303, "/login?next=/pipelines/cost_usage")
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/login")
    assert wrong.status_code == 403
    assert "the secret of no token" in wrong.text
    assert "something else" not in wrong.text
    assert "cost_usage" not in await guarded.see("/login")


async def test_a_session_acts_only_with_its_csrf_token(guarded: PageWorld) -> None:
    await guarded.log_in(OPERATOR)
    token = await guarded.csrf("/pipelines/cost_usage/pause")

    without = await guarded.browser.post("/pipelines/cost_usage/pause", data={})
    forged = await guarded.browser.post("/pipelines/cost_usage/pause", data={"csrf_token": token[:-2] + "AA"})
    assert not guarded.store.actions
    fine = await guarded.browser.post("/pipelines/cost_usage/pause", data={"csrf_token": token})

    assert [without.status_code, forged.status_code, fine.status_code] == [403, 403, 303]
    assert [one.by for one in guarded.store.actions.values()] == ["ann"]


async def test_a_viewer_sees_all_and_no_buttons_and_may_not_act(guarded: PageWorld) -> None:
    await guarded.log_in(VIEWER)
    guarded.parked.heaps[MAIN, ParkedKind.QUARANTINE] = [parked_row(now(), "value out of range")]
    entries = "/parked/entries?pipeline=cost_usage&where=main&kind=quarantine"

    for path in ("/", "/pipelines/cost_usage", "/parked", entries, "/history"):
        assert "data-dialog" not in await guarded.see(path), path
    refused = await guarded.browser.post("/pipelines/cost_usage/pause", data={"csrf_token": await guarded.csrf("/")})

    assert refused.status_code == 403
    assert "vic is a viewer" in refused.text
    assert "vic is a viewer" in await guarded.see("/pipelines/cost_usage/pause", status=403)
    assert not guarded.store.actions


async def test_logging_out_ends_the_session(guarded: PageWorld) -> None:
    await guarded.log_in(OPERATOR)

    await guarded.browser.post("/logout", data={"csrf_token": await guarded.csrf("/")})

    assert (await guarded.browser.get("/")).status_code == 303


@pytest.mark.parametrize("place", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "x"])
async def test_logging_in_leads_nowhere_else(guarded: PageWorld, place: str) -> None:
    answer = await guarded.browser.post("/login", data={"secret": OPERATOR, "next": place})

    assert answer.headers["location"] == "/"
    assert answer.headers["set-cookie"].lower().count("httponly") == 1
    assert HOST not in answer.headers["location"]


@pytest.mark.parametrize("where", [">", "a.b", "main 1", "@sources", ""])
async def test_a_place_that_is_no_name_never_reaches_nats(world: PageWorld, where: str) -> None:
    asked = {"pipeline": str(COST), "where": where, "kind": "quarantine", "id": "7"}

    seen = await world.browser.get("/parked/entries", params=asked)
    done = await world.browser.post("/parked/redrive", data=asked)

    assert (seen.status_code, done.status_code) == (400, 400)
    assert world.parked.done == []


async def test_a_loader_group_called_source_is_not_the_source(world: PageWorld) -> None:
    group, source = (Place(pipeline=COST, group=name) for name in (GroupName("source"), None))
    for place in (group, source):
        world.parked.heaps[place, ParkedKind.QUARANTINE] = [parked_row(now(), "value out of range")]

    seen = await world.see("/parked")
    await world.browser.post(
        "/parked/redrive", data={"pipeline": str(COST), "where": "source", "kind": "quarantine", "id": "7"}
    )

    assert "at the source" in seen
    assert "in the target of group source" in seen
    assert [place for _, place, _, _ in world.parked.done] == [group]


async def test_what_loaded_since_it_was_counted_is_not_shown(world: PageWorld) -> None:
    world.parked.heaps[MAIN, ParkedKind.DEAD_LETTERS] = []
    world.parked.stale = 3

    assert "Nothing waits" in await world.see("/parked")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/pipelines/cost_usage/trigger", {"mode": "snapshto"}),
        ("/pipelines/cost_usage/pause", {"reason": "a\x00b"}),
        ("/parked/redrive", {"pipeline": "cost_usage", "where": "main", "kind": "quarantine", "id": "a\x00"}),
    ],
)
async def test_a_form_that_makes_no_sense_does_nothing(world: PageWorld, path: str, said: dict[str, str]) -> None:
    answer = await world.browser.post(path, data=said)

    assert answer.status_code == 400
    assert not world.store.actions
