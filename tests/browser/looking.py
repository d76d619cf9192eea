"""What a person sees of a page: whether it fits, whether it moves, whether everybody can use it.

Pictures of what was last seen stand in `build/browser`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, ViewportSize, expect

PICTURES: Final = Path(__file__).parents[2] / "build" / "browser"
DESKTOP: Final = ViewportSize(width=1280, height=720)
PHONE: Final = ViewportSize(width=390, height=844)
PATIENCE: Final = 60_000  # milliseconds: a noisy machine, never a page that is slow
_BAD: Final = ("serious", "critical")
_IN_SIGHT: Final = """elements => elements.every(element => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.top >= 0 && box.left >= 0 && box.bottom <= innerHeight && box.right <= innerWidth;
})"""


@asynccontextmanager
async def looking(browser: Browser, picture: str, *, expected: str | None = None) -> AsyncIterator[Page]:
    """A page of 1280 by 720. What the browser complains of fails the test, unless this is `expected` in it, and a
    picture is kept of the end.
    """
    # Without motion: colours on their way from day to night are nobody's contrast.
    context = await browser.new_context(viewport=DESKTOP, reduced_motion="reduce")
    complaints: list[str] = []
    try:
        page = await context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        PICTURES.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=PICTURES / f"{picture}.png")
    finally:
        await context.close()
    assert [one for one in complaints if expected is None or expected not in one] == []


async def all_in_sight(page: Page, selector: str) -> bool:
    """Whether every such element stands inside the window as a whole, without scrolling."""
    found = page.locator(selector)
    assert await found.count(), f"there is no {selector}"
    return bool(await found.evaluate_all(_IN_SIGHT))


async def assert_for_everybody(page: Page, *rules: str) -> None:
    """axe-core finds nothing serious by these rules, or by any."""
    options = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    results: dict[str, Any] = (await Axe().run(page, options=options)).response
    bad = [one for one in results["violations"] if one["impact"] in _BAD]
    assert not bad, [(one["id"], one["help"], [node["html"] for node in one["nodes"]][:3]) for one in bad]
    assert results["passes"], "axe looked at nothing"


async def assert_moves(page: Page, selector: str, *, times: int = 2) -> None:
    """The text changes so many times by itself."""
    shown = page.locator(selector).first
    for _ in range(times):
        before = await shown.inner_text()
        await expect(shown).not_to_have_text(before, timeout=PATIENCE)


async def confirm(page: Page, button: str, *, reason: str | None = None, sure: bool = False) -> None:
    """Does what the dialog asks about."""
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_be_visible(timeout=PATIENCE)
    if reason is not None:
        await dialog.get_by_label("Reason").fill(reason)
    if sure:
        await dialog.get_by_role("checkbox").check()
    await dialog.get_by_role("button", name=button, exact=True).click()
