"""A real browser, and a demo for it to look at."""

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser, async_playwright
from tests.browser.running_demo import RunningDemo, running_demo


@pytest.fixture(scope="session")
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (found := shutil.which(name)) is not None:
            return found
    pytest.skip("there is no chromium here: install it (Debian: apt-get install chromium) to test the page")


@pytest.fixture(scope="module")
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
