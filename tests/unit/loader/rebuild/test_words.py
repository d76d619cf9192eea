"""What people and scripts are told of a rebuild."""

import asyncio
import json
import os
from datetime import UTC, datetime
from uuid import UUID

import pytest

from qupersync_loader.application.rebuild.history import WholeSnapshot
from qupersync_loader.application.rebuild.tally import Tally
from qupersync_loader.application.rebuild.telling import Began, Compared, Hindered, InPhase, Placed, Told, Waits
from qupersync_loader.application.shadows import Comparison, LaneDifference, Obstacle, Phase, Swapped, Way
from qupersync_loader.interface.onlooking import Onlooker
from qupersync_loader.interface.rebuild_words import document, interrupted, lines, reading_document, reading_line
from qupersync_shared.kernel.ids import Lane, Log, PipelineName, SnapshotId
from qupersync_shared.kernel.positions import Scalar, ScalarKind, encode_key

SNAPSHOT = WholeSnapshot(
    id=SnapshotId(UUID(int=7)), log=Log(2), lanes=1, at=datetime(2026, 3, 1, tzinfo=UTC), first={Lane(0): 1}
)
KEY = encode_key((Scalar(ScalarKind.INT, "5"), Scalar(ScalarKind.TEXT, "a")))
DIFFERENT = Comparison(
    live_rows=9,
    shadow_rows=10,
    excepted_keys=2,
    differences=[LaneDifference(lane=Lane(0), live_rows=9, shadow_rows=10, ranges=1, keys=[KEY, "odd"])],
)
FACTS: list[tuple[Told, str]] = [
    (Began(snapshot=SNAPSHOT, table="public.s", resumed=False), "filling public.s, from snapshot"),
    (Began(snapshot=SNAPSHOT, table="public.s", resumed=True), "going on with public.s"),
    (InPhase(phase=Phase.COMPARING), "comparing"),
    (Hindered(obstacles=[Obstacle(what="a view", cure="Drop it")]), "in the way: a view. Drop it"),
    (Waits(reason="locked"), "waiting: locked"),
    (Compared(comparison=Comparison(live_rows=3, shadow_rows=3)), "equal: 3 rows"),
    (Compared(comparison=DIFFERENT), "keys: (5, a), odd"),
    (Placed(swapped=Swapped(way=Way.SWAP, rows=3, locked_seconds=0.02, paused_seconds=0.5)), "readers waited 20 ms"),
    (
        Placed(swapped=Swapped(way=Way.MERGE, rows=3, locked_seconds=0, paused_seconds=1, written=2, removed=1)),
        "merged: 2 rows written, 1 removed",
    ),
]


@pytest.mark.parametrize(("told", "words"), FACTS)
def test_every_fact_has_words_and_a_document(told: Told, words: str) -> None:
    assert words in "\n".join(lines(told))
    assert json.loads(json.dumps(document(told), default=str))["event"]


def test_reading_has_a_rate_and_the_time_left() -> None:
    tally = Tally(events=50, rows=5_000, bytes=1 << 20, waiting={Lane(0): 100})
    tally.trouble(Lane(0), "lane 0: the target is away")
    line = reading_line(tally, 10)
    assert "5000 rows, 50 events, 1 MiB read, 500 rows/s, 100 events to go, about 20 s" in line
    assert line.endswith("lane 0: the target is away")
    told = reading_document(tally, 10)
    assert (told["rows_per_second"], told["eta_seconds"]) == (500.0, 20.0)
    tally.trouble(Lane(0), None)
    assert "away" not in reading_line(tally, 10)


def test_a_script_gets_one_document_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally(events=1)
    onlooker = Onlooker(tally, as_json=True)
    onlooker.tell(InPhase(phase=Phase.READING))
    onlooker.tell(Waits(reason="busy"))
    onlooker.end(["words"], {"event": "ended"})
    told = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert told == ["reading", "phase", "waits", "ended"]


async def test_a_terminal_gets_a_bar_and_lines_above_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    tally = Tally(events=30, rows=3_000, waiting={Lane(0): 10})
    onlooker = Onlooker(tally, as_json=False)
    async with onlooker.looking():
        await asyncio.sleep(0)  # the bar is drawn once
        onlooker.tell(Compared(comparison=Comparison(live_rows=3, shadow_rows=3)))
    shown = capsys.readouterr().out
    assert "75 %" in shown
    assert "3000 rows, 30 events" in shown
    assert "equal: 3 rows" in shown


async def test_a_log_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    onlooker = Onlooker(tally, as_json=False)
    async with onlooker.looking():
        onlooker.tell(Waits(reason="[busy]"))
        tally.events = 3
    assert capsys.readouterr().out.splitlines() == ["waiting: [busy]", "0 rows, 3 events, 0 B read"]


@pytest.mark.parametrize("as_json", [True, False])
async def test_the_work_goes_on_when_nobody_reads_any_more(monkeypatch: pytest.MonkeyPatch, *, as_json: bool) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr("sys.stdout", closed)
        onlooker = Onlooker(Tally(events=1), as_json=as_json)
        async with onlooker.looking():
            onlooker.tell(Waits(reason="busy"))
            onlooker.tell(Waits(reason="still busy"))
        onlooker.end(["words"], {"event": "ended"})
        monkeypatch.undo()


def test_a_wish_to_end_that_came_too_late_is_no_lie() -> None:
    assert "nothing was changed" in interrupted(PipelineName("people"), placed=False)
    assert "in place" in interrupted(PipelineName("people"), placed=True)
