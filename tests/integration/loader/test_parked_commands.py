"""`qupersync quarantine` and `qupersync dead-letters` on a real target, answered over real NATS."""

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.loader.conftest import Lanes, PostgresHarness
from tests.conformance.loader.events import Event, people
from tests.integration.loader.world import World, eventually, opened

from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.commands import Accepted, RereadRequest
from qupersync_shared.contracts.payload import checksum
from qupersync_shared.contracts.subjects import COMMAND_REREAD, COMMAND_SNAPSHOT
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.kernel.positions import Position, Scalar, ScalarKind
from qupersync_shared.runtime.cli import guard
from qupersync_shared.runtime.cli.app import build_app
from qupersync_shared.runtime.plugins import discover


@pytest.fixture
async def world(postgres: PostgresHarness, local_stack: ThreadedStack) -> AsyncIterator[World]:
    async with opened(postgres, local_stack.stack.nats.url) as made:
        yield made


def applying(world: World) -> Lanes:
    """The use case in this process, on the target that the commands look at."""
    return Lanes(world.postgres.target, group=GroupName(world.group), name=world.name, lanes=2)


async def call(world: World, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `qupersync …`."""
    given = [*arguments, "--config", str(world.services.configuration)]
    return await asyncio.to_thread(_call, given)


def _call(arguments: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = guard._code(lambda: build_app(discover())(arguments))
    assert "Traceback" not in err.getvalue(), err.getvalue()
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def accept(_: bytes) -> bytes:
    return Accepted().model_dump_json().encode()


def undecodable(event: Event) -> Event:
    body = b"not arrow"
    return Event(envelope=event.envelope.model_copy(update={"checksum": checksum(body)}), body=body)


async def refuse(world: World, *ids: int) -> Lanes:
    lanes = applying(world)
    await lanes.load(world.source.page(people(0)))
    await world.postgres.refuse_names(*(f"bad{i}" for i in ids))
    await lanes.load(world.source.incremental(people(*ids, name="bad")))
    return lanes


async def listed(world: World, *arguments: str) -> dict[str, Any]:
    code, out, err = await call(world, "quarantine", "list", "--json", *arguments)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


async def test_quarantined_rows_are_listed_in_pages_and_shown_whole(world: World) -> None:
    await refuse(world, 1, 2, 3)
    found = await listed(world)
    assert (len(found["rows"]), found["more"]) == (3, 0)
    first = found["rows"][0]
    assert (first["side"], first["pipeline"], first["times"], first["resolution"]) == ("target", world.name, 1, None)
    page = await listed(world, "--limit", "1", "-p", world.name)
    assert (page["rows"][0]["row"], page["more"]) == (first["row"], 2)
    rest = await listed(world, "--limit", "5", "--after", first["row"])
    assert [row["row"] for row in rest["rows"]] == [row["row"] for row in found["rows"][1:]]
    code, out, _ = await call(world, "quarantine", "list", "--limit", "1")
    assert code == 0
    assert f"2 more: --after {first['row']}" in out
    assert "not_this_name" in out
    code, out, _ = await call(world, "quarantine", "show", first["row"], "--json")
    assert code == 0
    assert json.loads(out)["content"]["name"] == f"bad{json.loads(first['key'])['key'][0][1]}"
    code, _, err = await call(world, "quarantine", "show", "target-999999")
    assert (code, "there is no row target-999999" in err) == (1, True)
    code, _, err = await call(world, "quarantine", "list", "-p", "nobody")
    assert (code, "there is no pipeline 'nobody'" in err) == (2, True)


async def test_rows_are_sent_again_and_waited_for(world: World) -> None:
    lanes = await refuse(world, 1, 2)
    code, _, err = await call(world, "quarantine", "redrive", "--all")
    assert (code, "no extractor accepted the request: nothing was lost" in err) == (1, True)
    asked = await world.serve(COMMAND_REREAD, accept)
    waiting = asyncio.create_task(call(world, "quarantine", "redrive", "-p", world.name, "--wait", "200"))

    async def requested() -> bool:
        return bool(asked)

    await eventually(requested, "a request to read again", seconds=200)
    request = RereadRequest.model_validate_json(asked[0].data)
    assert (request.group, request.pipeline, len(request.keys)) == (world.group, world.name, 2)
    # One row is mended at the source, the other is refused again.
    await lanes.load(world.source.reread(people(1) + people(2, name="bad")))
    code, out, err = await waiting
    assert code == 1, err
    assert "asked the source for 2 rows again" in out
    assert "1 left the quarantine, 1 were refused again, 0 wait" in out


async def test_who_waits_asks_until_an_extractor_is_there(world: World) -> None:
    """It may have been started together with the extractor."""
    lanes, (one,) = await park(world)
    asking = asyncio.create_task(call(world, "dead-letters", "redrive", "--all", "--wait", "200"))
    await asyncio.wait({asking}, timeout=2)  # it may have asked nobody: then it asks somebody at once
    assert not asking.done(), asking.result()
    asked = await world.serve(COMMAND_REREAD, accept)

    async def requested() -> bool:
        return bool(asked)

    await eventually(requested, "a request to read again", seconds=200)
    await lanes.load([world.source.reread(people(1), redrives=(one.envelope.id,))[0]])
    code, out, err = await asking
    assert (code, "1 were made good, 0 wait" in out) == (0, True), err


async def test_waiting_ends_with_the_reason_why_nothing_can_come_of_it(world: World) -> None:
    def refuse_all(request: bytes) -> bytes:
        keys = len(RereadRequest.model_validate_json(request).keys)
        return Accepted(refused="column 'id' is gone", keys_refused=keys).model_dump_json().encode()

    lanes = await refuse(world, 1, 2)
    await lanes.load([undecodable(event) for event in world.source.page(people(0))])
    await world.serve(COMMAND_REREAD, refuse_all)
    for group, said in (("quarantine", "0 were refused again, 2 wait"), ("dead-letters", "0 were made good, 2 wait")):
        code, out, err = await call(world, group, "redrive", "--all", "--wait", "3600")
        assert (code, said in out) == (1, True), (out, err)
        assert out.count("not read again: column 'id' is gone") == 1


async def test_waiting_goes_on_for_what_could_be_read(world: World) -> None:
    def refuse_one(_: bytes) -> bytes:
        return Accepted(refused="key ('2') is NULL", keys_refused=1).model_dump_json().encode()

    lanes = await refuse(world, 1, 2)
    asked = await world.serve(COMMAND_REREAD, refuse_one)
    waiting = asyncio.create_task(call(world, "quarantine", "redrive", "--all", "--wait", "12"))

    async def asked_twice() -> bool:
        return len(asked) > 1

    await eventually(asked_twice, "what has come of it to be asked", seconds=200)
    await lanes.load(world.source.reread(people(1)))
    code, out, err = await waiting
    assert (code, "1 left the quarantine, 0 were refused again, 1 wait" in out) == (1, True), (out, err)
    assert "not read again: key ('2') is NULL" in out


async def test_discarded_rows_stay_on_record(world: World) -> None:
    await refuse(world, 1, 2)
    found = await listed(world)
    name = found["rows"][0]["row"]
    code, _, _ = await call(world, "quarantine", "discard", name)
    assert code != 0  # it asks, and nobody answers
    assert len((await listed(world))["rows"]) == 2
    code, out, _ = await call(world, "quarantine", "discard", name, "--yes")
    assert (code, out) == (0, "discarded 1 rows\n")
    assert [row["row"] for row in (await listed(world))["rows"]] == [found["rows"][1]["row"]]
    every = await listed(world, "--all")
    assert [row["resolution"] for row in every["rows"]] == ["discarded", None]
    code, _, err = await call(world, "quarantine", "redrive")
    assert (code, "not one choice" in err) == (2, True)


async def park(world: World, *, begun: bool = False) -> tuple[Lanes, list[Event]]:
    lanes = applying(world)
    if not begun:
        await lanes.load(world.source.page(people(0)))
    position = Position(cursor=Scalar(ScalarKind.INT, "7"), key=(Scalar(ScalarKind.INT, "1"),))
    one = undecodable(world.source.incremental(people(1), position=position)[0])
    await lanes.load([one])
    return lanes, [one]


async def test_dead_letters_are_listed_shown_written_and_made_good(world: World, tmp_path: Path) -> None:
    lanes, (one,) = await park(world)
    code, out, err = await call(world, "dead-letters", "list", "--json")
    assert code == 0, err
    (letter,) = json.loads(out)["letters"]
    assert (letter["event_id"], letter["sequence"], letter["lane"]) == (str(one.envelope.id), 2, 0)
    code, out, _ = await call(world, "dead-letters", "list")
    assert (code, "cannot be decoded" in out, "incremental" in out) == (0, True, True)
    output = tmp_path / "payload"
    code, out, err = await call(world, "dead-letters", "show", str(letter["id"]), "--output", str(output))
    assert code == 0, err
    assert output.read_bytes() == b"not arrow"
    assert "9 bytes that cannot be decoded" in out
    assert "ce-position" in out
    asked = await world.serve(COMMAND_REREAD, accept)
    waiting = asyncio.create_task(call(world, "dead-letters", "redrive", str(letter["id"]), "--wait", "200"))

    async def requested() -> bool:
        return bool(asked)

    await eventually(requested, "a request to read again", seconds=200)
    request = RereadRequest.model_validate_json(asked[0].data)
    assert request.cursor_span is not None
    assert request.redrives == (one.envelope.id,)
    await lanes.load([world.source.reread(people(1), redrives=request.redrives)[0]])
    code, out, err = await waiting
    assert (code, "1 were made good, 0 wait" in out) == (0, True), err


async def test_a_letter_whose_part_cannot_be_told_asks_for_a_snapshot(world: World) -> None:
    lanes = applying(world)
    await lanes.load(world.source.page(people(0)), [undecodable(world.source.reread(people(1))[0])])
    asked = await world.serve(COMMAND_SNAPSHOT, accept)
    code, out, err = await call(world, "dead-letters", "redrive", "--all")
    assert code == 0, err
    assert f"{world.name}: what was lost cannot be told from the rest, a snapshot was asked for" in out
    assert len(asked) == 1


async def test_dead_letters_that_are_given_up_no_longer_degrade(world: World) -> None:
    await park(world)
    code, out, _ = await call(world, "dead-letters", "discard", "--all", "--yes")
    assert (code, out) == (0, "discarded 1 dead letters\n")
    state = (await world.postgres.target.states(GroupName(world.group)))[world.name]
    assert state.parked.nothing
    code, _, err = await call(world, "dead-letters", "show", "x")
    assert (code, "'x' is not a number" in err) == (2, True)


async def test_status_says_what_waits_and_the_command_to_run(world: World) -> None:
    loader = world.loader()
    await loader.start()
    await world.publish(world.source.page(people(0)))
    await world.applied(1)
    await world.postgres.refuse_names("bad1")
    await world.publish(world.source.incremental(people(1, name="bad")))

    async def told() -> bool:
        return sum(lane.quarantined for lane in await world.progress()) == 1

    await eventually(told, "the progress to tell of it", services=world.services)
    code, out, _ = await call(world, "status", "--json")
    entry = json.loads(out)["pipelines"][world.name]
    assert (code, entry["state"]) == (1, "degraded")
    assert entry["parked"] == {world.group: {"quarantined": 1, "dead_letters": 0, "altered": 0}}
    assert entry["reason"].count(f"1 row in quarantine (see `qupersync quarantine list -p {world.name}`)") == 1
    await loader.stop()


async def test_what_was_resolved_long_ago_is_forgotten(world: World) -> None:
    await refuse(world, 1, 2, 3)
    await park(world, begun=True)
    await world.postgres.execute(
        "UPDATE qupersync_quarantine SET resolution = 'discarded', resolved_at = now() - interval '31 days' "
        "WHERE \"row\"->>'name' = 'bad1'"
    )
    await world.postgres.execute(
        "UPDATE qupersync_quarantine SET resolution = 'discarded', resolved_at = now() - interval '29 days' "
        "WHERE \"row\"->>'name' = 'bad2'"
    )
    await world.postgres.execute("UPDATE qupersync_dead_letter SET resolution = 'reread', resolved_at = '2000-01-01'")
    await world.postgres.target.tidy([applying(world).pipeline], keep_days=30)
    assert await world.postgres.quarantine() == [("bad2", "discarded"), ("bad3", None)]
    assert await world.postgres.letters() == []
