"""The page of a demo that goes on, in a real browser: what stands, what stalls and why, and what can be done."""

import re

import asyncpg
import pytest
from playwright.async_api import Page, expect
from tests.browser.looking import PATIENCE, all_in_sight, assert_for_everybody, assert_moves, confirm
from tests.browser.running_demo import RunningDemo

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.timeout(400)]
PIPELINES = ("cost_usage", "query_history")
STALLED = "query_history"
_SNAPSHOTS = """
    SELECT count(*) FROM qupersync.run
    WHERE pipeline = 'cost_usage' AND mode LIKE '%snapshot%' AND ended_at IS NOT NULL
"""
PAGES = ("", "pipelines/cost_usage", "parked", "rebuilds", "history")


async def test_every_pipeline_its_age_and_what_stalls_with_its_cure_are_seen_without_scrolling(
    demo: RunningDemo, page: Page
) -> None:
    await page.goto(demo.page)
    reason = page.locator(f"#row-{STALLED} .reason")
    await expect(reason).to_contain_text("permission denied", timeout=PATIENCE)
    await expect(reason).to_contain_text("GRANT")
    await expect(page.locator(f"#row-{STALLED} .age b")).to_have_text(re.compile(r"\d+ s|\d+ min"), timeout=PATIENCE)
    for name in PIPELINES:
        assert await all_in_sight(page, f"#row-{name} th, #row-{name} .age b, #row-{name} .state"), name
        assert re.search(r"\d", await page.locator(f"#row-{name} .age b").inner_text())
    assert await all_in_sight(page, f"#row-{STALLED} .reason")
    assert await page.evaluate("scrollY") == 0
    await expect(page.locator("#verdict-sentence")).not_to_contain_text("all is well", ignore_case=True)


async def test_numbers_move_by_themselves(demo: RunningDemo, page: Page) -> None:
    await page.goto(demo.page)
    await assert_moves(page, "#as-of")
    await assert_moves(page, "#row-cost_usage .age b")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_use_every_page(demo: RunningDemo, page: Page, scheme: str) -> None:
    await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for path in PAGES:
        await page.goto(demo.page + path)
        await expect(page.locator("main h1, main h2").first).to_be_visible(timeout=PATIENCE)
        await assert_for_everybody(page)


async def test_a_phone_shows_every_page_without_scrolling_sideways(demo: RunningDemo, page: Page) -> None:
    await page.set_viewport_size({"width": 390, "height": 844})
    for path in PAGES:
        await page.goto(demo.page + path)
        await expect(page.locator("main h1, main h2").first).to_be_visible(timeout=PATIENCE)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


async def test_a_pipeline_is_paused_and_resumed_and_a_run_is_asked_for(demo: RunningDemo, page: Page) -> None:
    await page.goto(f"{demo.page}pipelines/cost_usage")
    await page.get_by_role("link", name="Pause").click()
    await confirm(page, "Pause", reason="seen by a browser")
    verdict = page.locator("#verdict")
    await expect(verdict).to_contain_text("paused", timeout=PATIENCE)
    await expect(verdict).to_contain_text("seen by a browser", timeout=PATIENCE)

    await page.get_by_role("link", name="Resume").click()
    await confirm(page, "Resume")
    await expect(page.get_by_role("link", name="Pause")).to_be_visible(timeout=PATIENCE)

    before = await _snapshots(demo)
    await page.get_by_role("link", name="Run now").click()
    await page.get_by_role("dialog").get_by_label("the whole source").check()
    await confirm(page, "Run now")
    await expect(page.locator("#runs")).to_contain_text("snapshot", timeout=PATIENCE)
    for _ in range(600):
        if await _snapshots(demo) > before:
            break
        await page.wait_for_timeout(100)
    assert await _snapshots(demo) > before, "nobody made the run"

    await page.goto(f"{demo.page}history")
    for deed in ("pause", "resume", "trigger"):
        await expect(page.locator("main")).to_contain_text(deed, timeout=PATIENCE)


async def _snapshots(demo: RunningDemo) -> int:
    """How many runs of the pipeline took a snapshot and are over."""
    connection = await asyncpg.connect(demo.outbox_dsn)
    try:
        return int(await connection.fetchval(_SNAPSHOTS))
    finally:
        await connection.close()


async def test_keys_alone_reach_every_link_and_the_content_first(demo: RunningDemo, page: Page) -> None:
    await page.goto(demo.page)
    await page.keyboard.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    inside = "document.querySelector('main').contains(document.activeElement)"
    assert await page.evaluate(inside), "the skip link does not lead into the content"
