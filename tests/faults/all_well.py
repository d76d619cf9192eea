"""The end of a fault, as an operator sees it."""

from tests.e2e.world import PATIENCE_SECONDS, World, eventually


async def all_well(world: World, *, seconds_max: float = PATIENCE_SECONDS) -> None:
    """Promise V: returns when `qupersync status` finds fault with nothing any more; else fails with what it finds."""
    found: list[str] = []

    async def well() -> bool:
        found[:] = (await world.status())["reasons"]
        return not found

    try:
        await eventually("", well, seconds_max=seconds_max, pause_seconds=0.5)
    except AssertionError:
        raise AssertionError(f"status still finds fault after {seconds_max:g} s: {found}") from None
