"""The page's own files: what others wrote is pinned, and nothing is fetched from anywhere else."""

import hashlib
from pathlib import Path

import pytest
from tests.unit.extractor.page.world import opened

from qupersync_extractor.interface.page.assets import address, assets, pinned


def test_what_others_wrote_is_what_was_pinned() -> None:
    for one in pinned():
        content = assets()[f"vendor/{one['file']}"].content
        assert hashlib.sha256(content).hexdigest() == one["sha256"], one["file"]
        assert f"vendor/{one['licence_file']}" in assets(), f"the licence of {one['package']} is missing"
        assert all(one[name] for name in ("package", "version", "licence"))


def test_everything_of_others_is_pinned() -> None:
    listed = {f"vendor/{one['file']}" for one in pinned()}
    code = {name for name in assets() if name.startswith("vendor/") and name.endswith((".js", ".css"))}

    assert code == listed


async def test_what_is_served_is_what_was_pinned(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        page = await world.see("/pipelines/cost_usage")
        for one in pinned():
            place = address(f"vendor/{one['file']}")
            answer = await world.browser.get(place)
            assert hashlib.sha256(answer.content).hexdigest() == one["sha256"]
            assert "immutable" in answer.headers["cache-control"]
            assert place in page, f"nobody needs {one['file']}"


@pytest.mark.parametrize("name", ["page.js", "charts.js", "page.css"])
def test_our_own_files_name_no_other_server(name: str) -> None:
    text = assets()[name].content.decode()

    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
