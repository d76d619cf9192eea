"""What a process finds when it starts: told once, for as long as it lasts, whatever the look itself does."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

import pytest

from qupersync_shared.runtime.plugins import CheckRow, Verdict
from qupersync_shared.runtime.preflight import at_start
from qupersync_shared.runtime.preflight.at_start import StartLooks
from qupersync_shared.runtime.preflight.rows import failed, ok, unknown, warning


@dataclass
class Bench:
    wanted: dict[str, str] = field(default_factory=lambda: {"cost": "first"})
    rows: dict[str, list[CheckRow]] = field(default_factory=dict)
    looked: list[str] = field(default_factory=list)
    told: dict[str, tuple[str | None, list[str]]] = field(default_factory=dict)
    closed: int = 0
    trouble: Exception | None = None

    async def look(self, definitions: Sequence[str]) -> AsyncGenerator[tuple[str, list[CheckRow]], None]:
        try:
            for definition in definitions:
                self.looked.append(definition)
                if self.trouble is not None:
                    raise self.trouble
                name = next(name for name, known in self.wanted.items() if known == definition)
                yield name, self.rows.get(definition, [])
        finally:
            self.closed += 1

    def tell(self, pipeline: str, *, failure: str | None, notices: Sequence[str]) -> None:
        self.told[pipeline] = failure, list(notices)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def looks(bench: Bench) -> StartLooks[str]:
    return StartLooks(pipelines=lambda: bench.wanted, look=bench.look, tell=bench.tell)


async def test_a_pipeline_that_is_well_is_looked_at_once(bench: Bench, looks: StartLooks[str]) -> None:
    bench.rows["first"] = [ok("cost", "key", "unique")]
    for _ in range(3):
        await looks.turn()
    assert bench.looked == ["first"]
    assert bench.told == {"cost": (None, [])}
    assert bench.closed == 1


async def test_it_is_looked_at_again_when_it_is_defined_anew_or_comes_back(
    bench: Bench, looks: StartLooks[str]
) -> None:
    await looks.turn()
    bench.wanted = {"cost": "second", "calls": "third"}
    await looks.turn()
    bench.wanted = {"calls": "third"}
    await looks.turn()
    bench.wanted = {"cost": "second", "calls": "third"}
    await looks.turn()
    assert bench.looked == ["first", "second", "third", "second"]


async def test_failures_are_shown_until_they_are_gone(
    bench: Bench, looks: StartLooks[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_start, "_AFTER_FAILURE_SECONDS", 0.0)
    bench.rows["first"] = [failed("cost", "rights", "no SELECT", "GRANT it"), warning("cost", "key", "two rows")]
    await looks.turn()
    assert bench.told["cost"] == ("no SELECT. GRANT it", ["key: two rows"])
    bench.rows["first"] = [ok("cost", "rights", "well"), warning("cost", "key", "x" * 400)]
    await looks.turn()
    failure, [notice] = bench.told["cost"]
    assert failure is None
    assert len(notice) == at_start.NOTICE_CHARACTERS
    await looks.turn()
    assert bench.looked == ["first", "first"], "a warning can wait"


async def test_what_cannot_be_asked_is_no_trouble_and_is_asked_again(
    bench: Bench, looks: StartLooks[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_start, "_AFTER_FAILURE_SECONDS", 0.0)
    bench.rows["first"] = [unknown("cost", "columns", "the source is away")]
    await looks.turn()
    assert bench.told["cost"] == (None, [])
    await looks.turn()
    assert bench.looked == ["first", "first"]


async def test_what_a_look_raises_is_closed_and_tried_again(
    bench: Bench, looks: StartLooks[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_start, "_AFTER_FAILURE_SECONDS", 0.0)
    bench.trouble = RuntimeError("a defect")
    with pytest.raises(RuntimeError):
        await looks.turn()
    bench.trouble = None
    await looks.turn()
    assert bench.looked == ["first", "first"]
    assert bench.closed == 2
    assert {row.verdict for row in bench.rows.get("first", [])} <= set(Verdict)
