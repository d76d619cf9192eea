"""The page as a browser meets it: what it shows, what it refuses, and what it never lets through."""

import html
import re
from datetime import UTC, datetime, timedelta

from tests.unit.extractor.page.world import (
    HOSTILE,
    NAMES,
    PageWorld,
    document,
    entry,
    parked_row,
    rebuild,
)

from qupersync_extractor.application.parked import Place
from qupersync_shared.contracts.parked import ParkedKind
from qupersync_shared.kernel.ids import GroupName, PipelineName

COST = PipelineName("cost_usage")
MAIN = Place(pipeline=COST, group=GroupName("main"))
PAGES = (
    *("/", "/fragments/overview", "/pipelines/cost_usage", "/fragments/pipelines/cost_usage", "/history"),
    *("/parked", "/parked/entries?pipeline=cost_usage&where=main&kind=quarantine", "/rebuilds", "/fragments/rebuilds"),
    *("/pipelines/cost_usage/pause", "/pipelines/cost_usage/reset", "/pipelines/cost_usage/trigger"),
    "/parked/discard?pipeline=cost_usage&where=main&kind=quarantine&id=7",
)
INLINE = re.compile(
    r"""<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:|(?:src|href)="(?:https?:)?//""", re.IGNORECASE
)


def now() -> datetime:
    return datetime.now(UTC)


# ---------------------------------------------------------------------------------------------------------- showing


async def test_the_overview_shows_every_pipeline_with_its_age(world: PageWorld) -> None:
    seen = await world.see("/")

    assert "All 3 pipelines are live" in seen
    for name in NAMES:
        assert f"/pipelines/{name}" in seen
    assert seen.count("<b>12 s</b>") >= 3


async def test_a_stalled_pipeline_comes_first_with_its_reason_and_cure(world: PageWorld) -> None:
    reason = "the stream lost events 4 to 9: `qupersync trigger query_history --mode snapshot`"
    entries = {name: entry(now()) for name in NAMES}
    entries["query_history"] = entry(now(), state="stalled", reason=reason)
    world.shows(document(now(), entries))

    seen = await world.see("/")

    assert "1 of 3 pipelines needs attention" in seen
    assert "<code>qupersync trigger query_history --mode snapshot</code>" in seen
    assert seen.index("row-query_history") < seen.index("row-cost_usage")


async def test_filter_and_order_are_the_servers(world: PageWorld) -> None:
    seen = await world.see("/?text=cust&sort=name")
    nothing = await world.see("/?text=<nothing>")

    assert "row-customers" in seen
    assert "row-cost_usage" not in seen
    assert "None of 3 pipelines holds “&lt;nothing&gt;”" in nothing


async def test_no_page_has_anything_that_its_policy_forbids(world: PageWorld) -> None:
    world.parked.heaps[MAIN, ParkedKind.QUARANTINE] = [parked_row(now(), "value out of range")]
    world.rebuilds.told["main"] = (rebuild(now()),)
    await world.has_history(error="refused: column cost")

    for path in PAGES:
        answer = await world.browser.get(path)

        assert answer.status_code == 200, answer.text[:2000]
        assert answer.headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        assert answer.headers["cache-control"] == "no-store"
        assert INLINE.search(answer.text) is None, path


async def test_what_others_wrote_is_text_on_every_page(world: PageWorld) -> None:
    hostile = entry(
        now(),
        state="degraded",
        reason=f"{HOSTILE} `{HOSTILE}`",
        notices=[HOSTILE],
        control={"paused": True, "reason": HOSTILE, "version": 3, "updated_at": None, "updated_by": HOSTILE},
        ledger={"sentence": HOSTILE},
        schedule={"text": HOSTILE, "next_run_at": None},
        extraction={"log": 1, "sequence": 2, "cursor": HOSTILE, "snapshot": None, "owner": HOSTILE},
    )
    hostile["lanes"][0]["groups"] = {HOSTILE: {**hostile["lanes"][0]["groups"]["main"], "trouble": HOSTILE}}
    told = document(now(), {"cost_usage": hostile}, reasons=[HOSTILE])
    told["processes"][0] |= {"instance": HOSTILE, "role": HOSTILE, "group": HOSTILE, "version": HOSTILE}
    world.shows(told)
    world.parked.heaps[MAIN, ParkedKind.QUARANTINE] = [parked_row(now(), HOSTILE, key=HOSTILE)]
    world.rebuilds.told["main"] = (rebuild(now(), who=HOSTILE, trouble=HOSTILE, phase=HOSTILE),)
    await world.desk.operations.pause(COST, by=HOSTILE, reason=HOSTILE)
    await world.desk.operations.resume(COST, by=HOSTILE)
    await world.has_history(error=HOSTILE)
    escaped = 0

    for path in (*PAGES, f"/?text={HOSTILE}"):
        seen = await world.see(path)
        assert "<script>alert" not in seen, path
        assert "<img" not in seen, path
        escaped += "&lt;script&gt;alert" in seen

    assert escaped >= 9, "the pages that show what others wrote do show it"


async def test_what_does_not_answer_is_unknown_and_never_well(world: PageWorld) -> None:
    unknown = {name: {"state": "unknown", "reason": None, "lanes": [], "lag": {}} for name in NAMES}
    told = document(now(), unknown, reasons=["outbox: connection refused"])
    told["probes"]["extractor"] = {"verdict": "unknown", "seconds": 3.0, "message": "no answer within 3 s"}
    world.shows(told)
    world.store.unavailable = "connection refused"

    seen = await world.see("/")
    one = await world.see("/pipelines/customers")

    assert "Unknown: how 3 of 3 pipelines stand" in seen
    assert "verdict good" not in seen
    assert "state good" not in seen
    assert "Not known: the outbox database does not answer." in seen
    assert "Not known: the outbox database does not answer." in one


async def test_old_numbers_are_no_verdict(world: PageWorld) -> None:
    world.shows(document(now() - timedelta(minutes=2)))

    assert "Unknown: the numbers below are old" in await world.see("/")


async def test_a_configuration_without_pipelines_says_what_to_do(world: PageWorld) -> None:
    world.shows(document(now(), {}))

    assert "No pipeline is configured yet" in await world.see("/")


async def test_unknown_pipelines_and_files_are_pages_of_their_own(world: PageWorld) -> None:
    missing = await world.see("/pipelines/orders", status=404)

    assert "There is no such pipeline" in missing
    assert "Known: cost_usage, customers, query_history" in missing
    await world.see("/static/../assets.py", status=404)
    await world.see("/static/vendor/other.js", status=404)


async def test_the_series_are_numbers_in_columns(world: PageWorld) -> None:
    await world.see("/")

    told = (await world.browser.get("/fragments/pipelines/cost_usage/series")).json()

    assert told["freshness"] == [12.4]
    assert len(told["at"]) == 1
    assert len(told["minutes"]["at"]) == 60


async def test_runs_and_ledger_are_shown_with_their_errors_and_hops(world: PageWorld) -> None:
    await world.has_history(error="the source was away: `qupersync check`")

    one, all_of_them = await world.see("/pipelines/cost_usage"), await world.see("/history?status=failed")

    assert "the source was away: <code>qupersync check</code>" in one
    assert "1/1,204" in one
    assert all_of_them.count(">failed<") == 2, "the row, and what is chosen"
    assert ">succeeded</th>" not in all_of_them


async def test_history_goes_on_where_it_ended(world: PageWorld) -> None:
    for _ in range(51):
        await world.has_history()

    first = await world.see("/history?pipeline=cost_usage")
    following = re.search(r'href="(/history[^"]+)" rel="next"', first)

    assert following is not None
    assert (await world.see(html.unescape(following[1]))).count("succeeded</th>") == 1
    assert "does not belong" in await world.see("/history?cursor=nonsense", status=400)


async def test_the_pages_are_no_part_of_the_api(world: PageWorld) -> None:
    described = (await world.browser.get("/api/v1/openapi.json")).json()

    assert not [
        path for path in described["paths"] if path.startswith(("/pipelines", "/static", "/fragments", "/login"))
    ]


# ---------------------------------------------------------------------------------------------------------- parked


async def test_what_waits_is_grouped_by_error(world: PageWorld) -> None:
    rows = [parked_row(now(), "value out of range", id_=str(number)) for number in range(3)]
    world.parked.heaps[MAIN, ParkedKind.QUARANTINE] = [*rows, parked_row(now(), "violates check", id_="9")]
    world.parked.heaps[Place(pipeline=COST), ParkedKind.QUARANTINE] = [parked_row(now(), "too large")]

    seen = await world.see("/parked")

    assert "in the target of group main" in seen
    assert "at the source" in seen
    assert seen.count("value out of range</a>") == 1
    assert ">3</td>" in seen


async def test_heaps_that_nobody_can_list_are_unknown(world: PageWorld) -> None:
    world.parked.heaps[MAIN, ParkedKind.DEAD_LETTERS] = [parked_row(now(), "cannot be decoded")]
    world.parked.away = "no loader of group main answers"

    seen = await world.see("/parked")
    entries = await world.see("/parked/entries?pipeline=cost_usage&where=main&kind=dead_letters", status=503)

    assert "What they are is unknown: no loader of group main answers" in seen
    assert "no loader of group main answers" in entries


async def test_redriving_and_discarding_name_what_they_are_about(world: PageWorld) -> None:
    world.parked.heaps[MAIN, ParkedKind.QUARANTINE] = [parked_row(now(), "value out of range")]
    form = {"pipeline": "cost_usage", "where": "main", "kind": "quarantine"}

    again = await world.browser.post("/parked/redrive", data={**form, "reason": "value out of range"})
    unsure = await world.browser.post("/parked/discard", data={**form, "id": "7"})
    given_up = await world.browser.post("/parked/discard", data={**form, "id": "7", "sure": "yes", "why": "a test"})
    nothing = await world.browser.post("/parked/discard", data={**form, "sure": "yes"})

    assert [again.status_code, unsure.status_code, given_up.status_code, nothing.status_code] == [303, 400, 303, 400]
    assert [(what, chosen.ids, chosen.reason) for what, _, _, chosen in world.parked.done] == [
        ("redrive", (), "value out of range"),
        ("discard", ("7",), None),
    ]
    assert [one.reason for one in world.store.actions.values()] == [None, "a test"]
    assert "1 entry given up" in await world.see(given_up.headers["location"])


async def test_the_overview_shows_rebuilds_under_way_and_who_is_silent(world: PageWorld) -> None:
    world.rebuilds.told["main"] = (rebuild(now()), rebuild(now(), ended_at=now(), pipeline="customers", running=False))

    seen = await world.see("/")

    assert 'aria-label="Progress of cost_usage"' in seen
    assert 'aria-label="Progress of customers"' not in seen


async def test_the_overview_says_whose_rebuilds_are_unknown(world: PageWorld) -> None:
    assert "Group main is unknown: no loader of group main answers" in await world.see("/")


async def test_rebuilds_show_their_progress_and_a_group_that_is_silent_is_unknown(world: PageWorld) -> None:
    world.rebuilds.told["main"] = (rebuild(now()), rebuild(now(), ended_at=now(), phase="swapped", running=False))
    seen = await world.see("/rebuilds")
    world.rebuilds.told.clear()
    silent = await world.see("/rebuilds")

    assert 'value="42.0" max="100"' in seen
    assert "level in about 34 s" in seen
    assert "swapped" in seen
    assert "Unknown: no loader of group main answers" in silent
