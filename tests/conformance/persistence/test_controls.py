"""What people decide of pipelines: kept by explicit commit, versioned, and remembered when a pipeline is removed."""

from typing import Any

import pytest

from qupersync_extractor.application.control import note_configured, pause, resume
from qupersync_extractor.application.ports import Asked
from qupersync_shared.kernel.errors import QupersyncError, TransientError
from qupersync_shared.kernel.ids import PipelineName, RunId, uuid7
from qupersync_shared.runtime.records import Query, StaleVersionError, UnknownFieldError

ORDERS, COSTS = PipelineName("orders"), PipelineName("costs")


async def _note(persistence: Any, *names: PipelineName) -> None:
    await note_configured(persistence.controls, frozenset(names), by="configuration")


async def _get(persistence: Any, name: PipelineName = ORDERS) -> Any:
    async with persistence.controls() as work:
        return await work.controls.get(name)


async def test_nothing_is_kept_without_a_commit(persistence: Any) -> None:
    await _note(persistence, ORDERS)
    async with persistence.controls() as work:
        control = await work.controls.get(ORDERS)
        control.pause(by="ann", at=await work.controls.now())
    assert (await _get(persistence)).paused is False


async def test_pausing_says_who_and_when_and_counts_the_version(persistence: Any) -> None:
    await _note(persistence, ORDERS)
    before = await _get(persistence)
    paused = await pause(persistence.controls, ORDERS, by="ann", reason="a  long\nnight", version=None)
    assert (paused.paused, paused.reason, paused.updated_by, paused.created_by) == (
        True,
        "a long night",
        "ann",
        "configuration",
    )
    assert paused.version == before.version + 1
    assert (await _get(persistence)) == paused
    resumed = await resume(persistence.controls, ORDERS, by="bob", version=paused.version)
    assert (resumed.paused, resumed.reason, resumed.updated_by) == (False, None, "bob")
    assert resumed.updated_at >= paused.updated_at


async def test_what_is_so_already_changes_neither_version_nor_moment(persistence: Any) -> None:
    await _note(persistence, ORDERS)
    running = await _get(persistence)
    assert await resume(persistence.controls, ORDERS, by="bob", version=None) == running
    paused = await pause(persistence.controls, ORDERS, by="ann", reason="r", version=None)
    for reason in ("r", None):
        assert await pause(persistence.controls, ORDERS, by="bob", reason=reason, version=None) == paused
    again = await pause(persistence.controls, ORDERS, by="bob", reason="another", version=None)
    assert (again.updated_by, again.reason, again.version) == ("bob", "another", paused.version + 1)


async def test_who_decides_on_an_older_version_is_told_so(persistence: Any) -> None:
    await _note(persistence, ORDERS)
    version = (await _get(persistence)).version
    await pause(persistence.controls, ORDERS, by="ann", reason=None, version=version)
    with pytest.raises(StaleVersionError, match="ann changed it"):
        await resume(persistence.controls, ORDERS, by="bob", version=version)
    assert (await _get(persistence)).paused


async def test_of_two_at_once_one_is_refused(persistence: Any) -> None:
    await _note(persistence, ORDERS)
    async with persistence.controls() as one, persistence.controls() as other:
        for work, name in ((one, "ann"), (other, "bob")):
            (await work.controls.get(ORDERS)).pause(by=name, at=await work.controls.now())
        await one.commit()
        with pytest.raises(StaleVersionError):
            await other.commit()
    assert (await _get(persistence)).updated_by == "ann"


async def test_a_pipeline_that_never_ran_cannot_be_paused(persistence: Any) -> None:
    with pytest.raises(QupersyncError, match="never run"):
        await pause(persistence.controls, ORDERS, by="ann", reason=None, version=None)


async def test_a_removed_pipeline_keeps_its_record_and_its_runs_are_not_listed(persistence: Any) -> None:
    await _note(persistence, ORDERS, COSTS)
    await pause(persistence.controls, ORDERS, by="ann", reason="r", version=None)
    for name in (ORDERS, COSTS):
        await persistence.runs.start(RunId(uuid7()), name, mode="incremental", cause="schedule")
    await _note(persistence, COSTS)
    removed = await _get(persistence)
    assert (removed.deleted, removed.deleted_by, removed.paused) == (True, "configuration", True)
    assert [run.pipeline for run in (await persistence.runs.page(Query())).items] == [COSTS]
    assert len((await persistence.runs.page(Query(filters={"pipeline": ORDERS}))).items) == 1
    version = (await _get(persistence)).version
    await _note(persistence, COSTS)
    assert (await _get(persistence)).version == version, "what is noted already changes nothing"
    await _note(persistence, ORDERS, COSTS)
    back = await _get(persistence)
    assert (back.deleted, back.paused, back.reason) == (False, True, "r")
    assert len((await persistence.runs.page(Query())).items) == 2


async def test_records_are_listed_by_what_is_allowed(persistence: Any) -> None:
    await _note(persistence, ORDERS, COSTS)
    await pause(persistence.controls, ORDERS, by="ann", reason=None, version=None)
    async with persistence.controls() as work:
        found = {
            answer: [one.pipeline for one in (await work.controls.page(Query(filters={"paused": answer}))).items]
            for answer in ("yes", "no")
        }
        assert found == {"yes": [ORDERS], "no": [COSTS]}
        first = await work.controls.page(Query(sort="-pipeline", limit=1))
        rest = await work.controls.page(Query(sort="-pipeline", limit=1, cursor=first.next_cursor))
        assert [one.pipeline for one in (*first.items, *rest.items)] == [ORDERS, COSTS]
        with pytest.raises(UnknownFieldError, match="reason"):
            await work.controls.page(Query(sort="reason"))


async def test_extractors_learn_who_is_paused_and_are_woken(persistence: Any) -> None:
    await persistence.registry.register(ORDERS, 2)
    await _note(persistence, ORDERS)
    await persistence.registry.wait_for_request(0.01)
    await pause(persistence.controls, ORDERS, by="ann", reason=None, version=None)
    await persistence.registry.wait_for_request(30)
    assert await persistence.registry.asked_for() == {ORDERS: Asked(paused=True)}
    await resume(persistence.controls, ORDERS, by="ann", version=None)
    assert await persistence.registry.asked_for() == {}


async def test_what_is_configured_is_noted_though_others_decide_at_the_same_time(persistence: Any) -> None:
    await _note(persistence, ORDERS)
    left = 3

    class Overtaken:
        """A unit of work that somebody else is quicker than."""

        def __init__(self) -> None:
            self._work = persistence.controls()

        async def __aenter__(self) -> Any:
            return self

        async def __aexit__(self, *error: object) -> None:
            await self._work.__aexit__(*error)

        @property
        def controls(self) -> Any:
            return self._work.controls

        async def commit(self) -> None:
            nonlocal left
            if left:
                left -= 1
                async with persistence.controls() as quicker:
                    control = await quicker.controls.get(ORDERS)
                    control.pause(by="ann", at=await quicker.controls.now(), reason=f"reason {left}")
                    await quicker.commit()
            await self._work.commit()

    for names in (frozenset([COSTS]), frozenset([ORDERS])):
        left = 3
        await note_configured(Overtaken, names, by="configuration")
        assert (await _get(persistence)).deleted is (ORDERS not in names)

    left = 99
    with pytest.raises(TransientError, match="several processes"):
        await note_configured(Overtaken, frozenset([COSTS]), by="configuration")
    assert not (await _get(persistence)).deleted
