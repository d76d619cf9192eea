"""The page of a demo that goes on, in a real browser: what stands, what stalls and why, and what can be done.

A demo takes long to begin: all looks are taken at the same one, by one test.
"""

import re
from typing import Final

import asyncpg
import pytest
from playwright.async_api import Browser, Page, expect
from tests.browser.looking import (
    DESKTOP,
    PATIENCE,
    PHONE,
    all_in_sight,
    assert_for_everybody,
    assert_moves,
    confirm,
    looking,
)
from tests.browser.running_demo import RunningDemo
from tests.e2e.world import eventually

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.timeout(600)]
PIPELINES: Final = ("cost_usage", "query_history")
STALLED: Final = "query_history"
PAGES: Final = ("", "pipelines/cost_usage", "parked", "rebuilds", "history")
_SNAPSHOTS: Final = """
    SELECT count(*) FROM qupersync.run
    WHERE pipeline = 'cost_usage' AND mode LIKE '%snapshot%' AND ended_at IS NOT NULL
"""


async def test_the_page_of_a_demo_that_goes_on(demo: RunningDemo, browser: Browser) -> None:
    async with looking(browser, "overview") as page:
        await shows_every_age_and_what_stalls_with_its_cure_without_scrolling(demo, page)
        await lets_keys_alone_reach_the_content(demo, page)
        await moves_by_itself(demo, page)
    async with looking(browser, "every_page") as page:
        await is_for_everybody_and_for_phones(demo, page)
    async with looking(browser, "deeds") as page:
        await pauses_resumes_and_runs(demo, page)


async def shows_every_age_and_what_stalls_with_its_cure_without_scrolling(demo: RunningDemo, page: Page) -> None:
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


async def lets_keys_alone_reach_the_content(demo: RunningDemo, page: Page) -> None:
    await page.goto(demo.page)
    await page.keyboard.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    inside = "document.querySelector('main').contains(document.activeElement)"
    assert await page.evaluate(inside), "the skip link does not lead into the content"


async def moves_by_itself(demo: RunningDemo, page: Page) -> None:
    await page.goto(demo.page)
    await assert_moves(page, "#as-of")
    await assert_moves(page, "#row-cost_usage .age b")


async def is_for_everybody_and_for_phones(demo: RunningDemo, page: Page) -> None:
    for path in PAGES:
        await page.emulate_media(color_scheme="light")
        await page.goto(demo.page + path)
        await expect(page.locator("main h1, main h2").first).to_be_visible(timeout=PATIENCE)
        await assert_for_everybody(page)
        await page.emulate_media(color_scheme="dark")
        await assert_for_everybody(page, "color-contrast")  # nothing else is another then
        await page.set_viewport_size(PHONE)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        await page.set_viewport_size(DESKTOP)


async def pauses_resumes_and_runs(demo: RunningDemo, page: Page) -> None:
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

    async def made() -> bool:
        return await _snapshots(demo) > before

    await eventually("the run that was asked for", made)
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
