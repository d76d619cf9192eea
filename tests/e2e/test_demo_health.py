"""`qupersync demo --source health`, as it is called from a shell: the ready-made pipelines of the system views."""

import re

import pytest
from tests.e2e.world import command

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(400)
async def test_the_health_demo_ends_with_what_was_expected() -> None:
    answer = await command("qupersync", "demo", "--rows", "6000", "--source", "health", seconds_max=280)
    assert answer.code == 0, answer
    match = re.fullmatch(r"source and target are equal: (\d+) rows", answer.out.splitlines()[-1])
    assert match, answer.out
    first = re.search(r"first snapshot of (\d+) rows", answer.out)
    changed = re.search(r"(\d+) inserted, (\d+) updated, (\d+) deleted", answer.out)
    assert first, answer.out
    assert changed, answer.out
    # What finished meanwhile came, and what aged out at the source stayed.
    assert int(match[1]) > int(first[1]) > 200
    assert all(int(count) > 0 for count in changed.groups())
    for pipeline in ("table_stats", "query_history", "vacuum_history", "node_details"):
        assert pipeline in answer.out
