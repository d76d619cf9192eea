"""A real browser, and a demo for it to look at. Pictures of what was last seen stand in `build/browser`."""

import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Browser, Page, async_playwright
from tests.browser.running_demo import RunningDemo, running_demo

PICTURES: Final = Path(__file__).parents[2] / "build" / "browser"
DESKTOP: Final = {"width": 1280, "height": 720}


@pytest.fixture(scope="session")
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (found := shutil.which(name)) is not None:
            return found
    pytest.skip("there is no chromium here: install it (Debian: apt-get install chromium) to test the page")


@pytest.fixture(scope="session")
def demo(chromium: str) -> Iterator[RunningDemo]:
    assert chromium
    with running_demo("--stall") as running:
        yield running


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        # Containers run as root and have a small /dev/shm; the page is our own.
        opened = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield opened
        finally:
            await opened.close()


@pytest.fixture
async def page(browser: Browser, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """A page of 1280 by 720. Whatever the browser complains of fails the test, and a picture is kept of the end."""
    context = await browser.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
    opened = await context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield opened
        PICTURES.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"\W+", "_", request.node.name).strip("_")
        await opened.screenshot(path=PICTURES / f"{name}.png")
    finally:
        await context.close()
    assert not complaints
