"""The source quarantine: rows that no event could carry, until a later page or a person settles them."""

from datetime import timedelta
from typing import Any

from qupersync_extractor.application.quarantine import Resolution, WithheldRow, row_id
from qupersync_shared.kernel.ids import EventId, PipelineName, uuid7

PIPELINE, OTHERS = PipelineName("orders"), PipelineName("others")


async def withhold(persistence: Any, *keys: str, pipeline: PipelineName = PIPELINE, reason: str = "too big") -> None:
    async with persistence.unit_of_work() as work:
        event_id = EventId(uuid7())
        await work.quarantine.add(
            [WithheldRow(pipeline=pipeline, key=key, reason=reason, event_id=event_id) for key in keys]
        )
        await work.commit()


async def unresolved(persistence: Any, pipeline: PipelineName = PIPELINE) -> list[str]:
    async with persistence.unit_of_work() as work:
        found: list[str] = await work.quarantine.unresolved(pipeline)
    return sorted(found)


async def settle(persistence: Any, *, commit: bool = True, **settled: Resolution) -> None:
    async with persistence.unit_of_work() as work:
        await work.quarantine.resolve(PIPELINE, settled)
        if commit:
            await work.commit()


async def listed(persistence: Any, **options: Any) -> list[str]:
    given = {"pipelines": (), "resolved": False, "after": None, "limit": 100} | options
    rows, _ = await persistence.quarantine.page(**given)
    return sorted(row.key for row in rows)


async def test_a_row_is_settled_once_and_withheld_again_it_waits_again(persistence: Any, writer: Any) -> None:
    await withhold(persistence, "a", "b", "c")
    await withhold(persistence, "a", pipeline=OTHERS)
    await settle(persistence, a=Resolution.SENT, commit=False)
    assert await unresolved(persistence) == ["a", "b", "c"]
    assert await persistence.quarantine.keys(PIPELINE) == {"a", "b", "c"}
    await settle(persistence, a=Resolution.SENT, b=Resolution.GONE, unknown=Resolution.GONE)
    assert await persistence.quarantine.keys(PIPELINE) == {"c"}
    assert await unresolved(persistence) == ["c"]
    assert await unresolved(persistence, OTHERS) == ["a"]
    await settle(persistence, a=Resolution.GONE)
    (found,) = await persistence.quarantine.find([row_id(PIPELINE, "a")])
    assert (found.resolution, found.times) == (Resolution.SENT, 1)
    assert found.resolved_at is not None
    await withhold(persistence, "a", reason="still too big")
    (found,) = await persistence.quarantine.find([row_id(PIPELINE, "a")])
    assert (found.resolution, found.resolved_at, found.times, found.reason) == (None, None, 2, "still too big")
    assert await unresolved(persistence) == ["a", "c"]


async def test_what_is_withheld_again_waits_behind_all_others(persistence: Any, writer: Any) -> None:
    """A bounded number of keys is looked at: those that are refused for ever must not stand before the rest."""
    for key in ("a", "b", "c"):
        await withhold(persistence, key)
    await withhold(persistence, "a", "b")
    await withhold(persistence, "a")
    async with persistence.unit_of_work() as work:
        assert await work.quarantine.unresolved(PIPELINE) == ["c", "b", "a"]


async def test_the_list_is_paged_by_id_and_filtered(persistence: Any, writer: Any) -> None:
    await withhold(persistence, *"abcde")
    await withhold(persistence, "x", pipeline=OTHERS)
    await settle(persistence, e=Resolution.SENT)
    assert await listed(persistence) == ["a", "b", "c", "d", "x"]
    assert await listed(persistence, resolved=True) == ["a", "b", "c", "d", "e", "x"]
    assert await listed(persistence, pipelines=[OTHERS]) == ["x"]

    seen: list[str] = []
    after, more = None, 1
    while more:
        rows, more = await persistence.quarantine.page(pipelines=[PIPELINE], resolved=True, after=after, limit=2)
        assert [row.id for row in rows] == sorted(row.id for row in rows)
        assert len(rows) == min(2, 5 - len(seen))
        assert more == 5 - len(seen) - len(rows)
        seen += [row.key for row in rows]
        after = rows[-1].id
    assert sorted(seen) == ["a", "b", "c", "d", "e"]


async def test_what_is_given_up_waits_no_more(persistence: Any, writer: Any) -> None:
    await withhold(persistence, "a", "b")
    await settle(persistence, b=Resolution.SENT)
    a, b = row_id(PIPELINE, "a"), row_id(PIPELINE, "b")
    assert await persistence.quarantine.discard([a, b, "unknown"]) == [a]
    assert await persistence.quarantine.discard([a]) == []
    assert await unresolved(persistence) == []
    assert [row.resolution for row in await persistence.quarantine.find([a])] == [Resolution.DISCARDED]
    assert await persistence.quarantine.find(["unknown"]) == []


async def test_settled_rows_are_forgotten_later(persistence: Any, writer: Any) -> None:
    await withhold(persistence, "a", "b")
    await settle(persistence, a=Resolution.GONE)
    assert await persistence.quarantine.forget(older_than=timedelta(hours=1)) == 0
    await persistence.pass_time(7200)
    assert await persistence.quarantine.forget(older_than=timedelta(hours=1)) == 1
    assert await listed(persistence, resolved=True) == ["b"]
