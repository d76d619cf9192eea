"""A rebuild that is killed at each of its steps, and begun again: nothing is changed by halves."""

from tests.conformance.loader.events import people
from tests.unit.loader.rebuild.rig import Rig

from qupersync_loader.application.shadows import Phase
from qupersync_loader.infrastructure.memory.fuse import BlownError, Fuse


async def test_killed_at_each_step_and_begun_again_it_ends_level() -> None:
    step = kills = 0
    while True:
        step += 1
        rig = Rig()
        await rig.snapshot(*range(1, 9))
        await rig.both(rig.source.incremental(people(2, 30, name="new")))
        before, marks = rig.rows(), rig.marks()
        try:
            await rig.rebuild(fuse=Fuse(step))()
        except BlownError:
            kills += 1
        else:
            break
        assert (rig.rows(), rig.marks()) == (before, marks), f"killed at step {step}"
        await rig.both(rig.source.incremental(people(3, name=f"after{step}_")))
        rebuilt = await rig.rebuild()()
        assert rebuilt.phase is Phase.SWAPPED, f"killed at step {step}"
        assert rebuilt.comparison.equal
        assert rig.rows()[3] == f"after{step}_3"
        assert not rig.target.hidden
    assert kills > 20
