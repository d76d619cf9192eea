"""What waits for a person, and what is being rebuilt, handled through the page in a real browser."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, expect
from tests.browser.looking import PATIENCE, assert_for_everybody, confirm, looking
from tests.e2e.test_redrive import OLD, OPTIONS, park, relay, same, without_relay
from tests.e2e.test_schema_evolution import PHASES
from tests.e2e.world import World, eventually, opened
from tests.faults.gates import Gate

from qupersync_local.services import EXTRACTOR, LOADER, control_section
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.envelope import Mode

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.timeout(600)]


@asynccontextmanager
async def shown(stack: ThreadedStack) -> AsyncIterator[World]:
    """A world with a page, its first snapshot loaded; the relay runs alone, so that it can be taken away."""
    async with opened(stack, pipeline=OPTIONS, **control_section()) as world:
        await world.insert(1, 100, moment=OLD)
        await world.migrate()
        for name, module, command in (("extract", EXTRACTOR, "extract"), ("load", LOADER, "run")):
            await world.services.add(name, module, command).start()
        await relay(world)

        async def loaded() -> bool:
            return await same(world)

        await eventually("the first snapshot", loaded, seconds_max=120)
        yield world


async def test_what_is_parked_is_redriven_and_a_rebuild_is_watched(
    browser: Browser, local_stack: ThreadedStack
) -> None:
    async with shown(local_stack) as world:
        async with looking(browser, "parked") as page:
            await redrives_a_dead_letter(world, page)
        async with looking(browser, "rebuilds") as page:
            await watches_a_rebuild(world, page)


async def redrives_a_dead_letter(world: World, page: Page) -> None:
    before = await without_relay(world)
    await world.insert(101, 120)
    await park(world, before, Mode.INCREMENTAL)

    await page.goto(f"{world.services.page}parked")
    await expect(page.locator("main")).to_contain_text("cannot be decoded", timeout=PATIENCE)
    await assert_for_everybody(page)
    await page.get_by_role("link", name="Redrive").first.click()
    await confirm(page, "Redrive")

    async def equal() -> bool:
        return await same(world)

    await eventually("its rows were read again", equal, seconds_max=120)
    await page.goto(f"{world.services.page}parked")
    await expect(page.locator("main")).to_contain_text("Nothing waits", timeout=PATIENCE)


async def watches_a_rebuild(world: World, page: Page) -> None:
    table, when, event = PHASES["reading"]
    async with Gate.opened(world.services_target_dsn, table, when=when, event=event) as gate:
        await gate.shut()
        rebuilding = asyncio.create_task(world.operate("rebuild", world.name))
        await gate.wait_for_waiting(seconds_max=180)
        await page.goto(f"{world.services.page}rebuilds")
        under_way = page.locator(".rebuild").filter(has_text=world.name)
        await expect(under_way.locator("progress")).to_be_visible(timeout=PATIENCE)
        await assert_for_everybody(page)
        await gate.open()
        answer = await rebuilding
        assert answer.code == 0, answer
    # Nobody loads the page again: it follows.
    await expect(under_way.locator("progress")).to_have_count(0, timeout=PATIENCE)
    await expect(under_way).to_contain_text("ended", timeout=PATIENCE)
