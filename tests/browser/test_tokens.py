"""Tokens in a real browser: logging in, acting, and being nobody again. What browsers send by themselves decides."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect
from tests.browser.looking import PATIENCE, assert_for_everybody, confirm, looking
from tests.unit.extractor.page.world import OPERATOR, VIEWER, PageWorld, opened

from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.http import serve
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.settings.control import ListenSection

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]
PIPELINE = PipelineName("cost_usage")
REASON = "<b>seen</b> by a browser"


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[tuple[PageWorld, str]]:
    """A page over memory that asks for tokens, and where it is."""
    stop, port = Stop(), asyncio.get_running_loop().create_future()
    async with opened(directory, tokens=True) as world:
        serving = asyncio.create_task(serve(world.app, ListenSection(port=0), stop, name="page", told=port.set_result))
        try:
            yield world, f"http://127.0.0.1:{await port}/"
        finally:
            stop.request()
            await serving


async def log_in(page: Page, secret: str) -> None:
    await page.get_by_label("Token").fill(secret)
    await page.get_by_role("button", name="Log in").click()


async def test_a_token_opens_the_page_until_it_is_revoked(browser: Browser, tmp_path: Path) -> None:
    async with served(tmp_path) as (world, address), looking(browser, "tokens", expected="401") as page:
        await page.goto(f"{address}history")
        await assert_for_everybody(page)
        await log_in(page, OPERATOR)
        await expect(page).to_have_url(f"{address}history", timeout=PATIENCE)
        (cookie,) = await page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert OPERATOR not in cookie["value"]

        await page.goto(f"{address}pipelines/{PIPELINE}")
        await page.get_by_role("link", name="Pause").click()
        await confirm(page, "Pause", reason=REASON)
        await expect(page.locator(".done")).to_contain_text("is paused", timeout=PATIENCE)
        assert world.store.controls[PIPELINE].paused
        await page.goto(f"{address}history")
        await expect(page.locator("main")).to_contain_text(REASON, timeout=PATIENCE)

        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Token")).to_be_visible(timeout=PATIENCE)
        assert await page.context.cookies() == []

        await page.goto(f"{address}pipelines/{PIPELINE}")
        await log_in(page, VIEWER)
        await expect(page.locator("#verdict")).to_be_visible(timeout=PATIENCE)
        assert await page.locator("a[data-dialog]").count() == 0
        (tmp_path / "vic").write_text("another-secret-of-viewers", encoding="utf-8")
        # Nobody loads the page again: the part of it that moves is refused, and sends the browser away.
        await expect(page.get_by_label("Token")).to_be_visible(timeout=PATIENCE)
