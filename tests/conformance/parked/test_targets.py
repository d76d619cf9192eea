"""What only targets have: dead letters, values that stay where they are, bounds, and loaders that are not there."""

import asyncio
from uuid import uuid4

import pytest
from tests.conformance.loader.events import Extractor, people
from tests.conformance.parked import conftest
from tests.conformance.parked.conftest import LETTERS, PEOPLE, ROWS, TargetHarness

from qupersync_extractor.application.parked import Place, Wanted
from qupersync_extractor.infrastructure.jetstream.parked import ParkedInTargets, RebuildsInTargets
from qupersync_loader.application import parked_content
from qupersync_shared.contracts import parked as contract
from qupersync_shared.contracts.parked import Chosen, kind_of_reason
from qupersync_shared.kernel.errors import QupersyncError, TransientError
from qupersync_shared.kernel.ids import GroupName, uuid7
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.settings import NatsSection

pytestmark = pytest.mark.integration

DAMAGED = "the body cannot be decoded: invalid"


async def test_letters_are_listed_without_what_is_in_them(in_target: TargetHarness) -> None:
    parked = await in_target.park(DAMAGED, DAMAGED, kind=LETTERS)

    page = await in_target.parked.page(in_target.place, Wanted(kind=LETTERS))

    assert [entry.id for entry in page.entries] == parked[::-1]
    first = page.entries[0]
    assert (first.lane, first.lanes, first.mode, first.key) == (0, 1, "reread", None)
    assert first.bytes is not None
    assert first.bytes > 0
    assert "secret" not in page.entries[0].model_dump_json()


async def test_a_letter_is_shown_with_headers_and_what_its_payload_is(in_target: TargetHarness) -> None:
    (letter,) = await in_target.park(DAMAGED, kind=LETTERS)

    found = await in_target.parked.entry(in_target.place, LETTERS, letter)

    assert found.headers["ce-pipeline"] == PEOPLE
    assert found.content is not None
    assert found.content.endswith("1 rows of id, name, amount")
    assert "secret" not in found.model_dump_json()


async def test_a_row_is_shown_with_its_columns_and_no_value(in_target: TargetHarness) -> None:
    (row,) = await in_target.park("too broad")

    found = await in_target.parked.entry(in_target.place, ROWS, row)

    assert sorted(found.columns) == ["id", "name"]
    assert "secret" not in found.model_dump_json()


async def test_letters_are_read_again_by_their_keys(in_target: TargetHarness) -> None:
    one, two = await in_target.park(DAMAGED, DAMAGED, kind=LETTERS)
    request = uuid4()

    for _ in range(2):
        redriven = await in_target.parked.redrive(in_target.place, LETTERS, Chosen(), by="ann", request=request)
        assert (redriven.asked, redriven.snapshot) == (2, False)

    assert await in_target.reread() == [{one}, {two}]
    assert all(asked.group == in_target.place.group for asked in in_target.commands.rereads)


async def test_where_a_letters_part_cannot_be_told_one_snapshot_is_asked_for(in_target: TargetHarness) -> None:
    (event,) = Extractor().reread(people(1))
    for _ in range(2):
        in_target._last += 1
        await in_target.letter(event.envelope.headers(), b"no arrow", DAMAGED, uuid7())

    redriven = await in_target.parked.redrive(in_target.place, LETTERS, Chosen(), by="ann", request=uuid4())

    assert (redriven.asked, redriven.snapshot) == (2, True)
    (wish,) = in_target.commands.snapshots
    assert wish.pipeline == PEOPLE
    assert "ann" in wish.reason


async def test_where_no_extractor_answers_nothing_is_lost(in_target: TargetHarness) -> None:
    await in_target.park("too broad")
    in_target.commands.accepts = False

    with pytest.raises(TransientError, match="no extractor accepted"):
        await in_target.parked.redrive(in_target.place, ROWS, Chosen(), by="ann", request=uuid4())

    assert (await in_target.parked.reasons(in_target.place, ROWS)).total == 1


async def test_many_are_asked_for_in_parts(in_target: TargetHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked_content, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(parked_content, "LETTERS_AT_ONCE", 2)
    monkeypatch.setattr(parked_content, "DISCARDS_AT_ONCE", 2)
    rows = await in_target.park(*["too broad"] * 5)
    letters = await in_target.park(*[DAMAGED] * 3, kind=LETTERS)

    by_name = await in_target.parked.redrive(in_target.place, ROWS, Chosen(ids=tuple(rows)), by="ann", request=uuid4())
    assert by_name.asked == 5
    assert set().union(*await in_target.reread()) == set(rows)
    assert (await in_target.parked.redrive(in_target.place, LETTERS, Chosen(), by="ann", request=uuid4())).asked == 3
    assert set().union(*await in_target.reread()) == {*rows, *letters}
    assert await in_target.parked.discard(in_target.place, ROWS, Chosen(), by="ann") == 5


async def test_what_was_asked_for_before_an_extractor_went_away_is_told(
    in_target: TargetHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked_content, "ROWS_AT_ONCE", 2)
    await in_target.park(*["too broad"] * 3)
    accepted = in_target.commands.request_reread

    async def once(request: contract.Command) -> bool:
        in_target.commands.accepts = len(in_target.commands.rereads) == 0
        return await accepted(request)  # type: ignore[arg-type]

    monkeypatch.setattr(in_target.commands, "request_reread", once)

    redriven = await in_target.parked.redrive(in_target.place, ROWS, Chosen(), by="ann", request=uuid4())

    assert redriven.asked == 2
    assert redriven.trouble is not None
    assert "no extractor" in redriven.trouble


async def test_a_reply_is_bounded_and_goes_on_behind_what_it_held(
    in_target: TargetHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked_content, "REPLY_BYTES_MAX", 700)
    parked = await in_target.park(*["x" * 300] * 5)
    seen: list[str] = []
    wanted: Wanted | None = Wanted(kind=ROWS, limit=5)
    while wanted is not None:
        page = await in_target.parked.page(in_target.place, wanted)
        assert 0 < len(page.entries) < 5
        seen += [entry.id for entry in page.entries]
        wanted = Wanted(kind=ROWS, limit=5, cursor=page.next_cursor) if page.next_cursor is not None else None

    assert seen == parked[::-1]


async def test_long_keys_are_cut_in_lists_alone(in_target: TargetHarness) -> None:
    (row,) = await in_target.park("too broad")
    await in_target.target.execute(f"UPDATE qupersync_quarantine SET key = repeat('k', 2000) WHERE id = {row}")

    (entry,) = (await in_target.parked.page(in_target.place, Wanted(kind=ROWS))).entries

    assert entry.key is not None
    assert len(entry.key) == contract.KEY_CHARACTERS_MAX
    assert (await in_target.parked.entry(in_target.place, ROWS, row)).key == "k" * 2000


async def test_what_no_message_can_hold_is_said_to_be_too_long(in_target: TargetHarness) -> None:
    (row,) = await in_target.park("too broad")
    await in_target.target.execute(f"UPDATE qupersync_quarantine SET key = repeat('k', 2000000) WHERE id = {row}")

    with pytest.raises(QupersyncError, match="longer than a NATS message may be"):
        await in_target.parked.entry(in_target.place, ROWS, row)


async def test_python_and_postgresql_mean_the_same_kinds(in_target: TargetHarness) -> None:
    reasons = (
        'invalid input value for enum mood: "sad 12"',
        'duplicate key value violates unique constraint "people_email_key2" (23505)',
        "PostgreSQL refused: invalid input syntax for type integer (22P02)",
        "the body has schema 0f3c9a7b21, the envelope 99aa00ff11",
        "the body has 12 rows, the envelope says 1,300.5",
        "event 17 of lane 3 holds a key twice",
        "\N{LATIN SMALL LETTER U WITH DIAERESIS}nicode 7\N{LATIN SMALL LETTER E WITH GRAVE}me 2026-01-02T03:04:05Z",
    )
    await in_target.park(*reasons)

    found = (await in_target.parked.reasons(in_target.place, ROWS)).reasons

    assert {one.reason for one in found} == set(map(kind_of_reason, reasons))
    for one in found:
        assert len((await in_target.parked.page(in_target.place, Wanted(kind=ROWS, reason=one.reason))).entries) == 1


async def test_pages_of_what_waits_are_read_by_index(in_target: TargetHarness) -> None:
    await in_target.target.execute("SET enable_seqscan = off")
    plan = await in_target.target.fetch(
        "EXPLAIN SELECT id FROM qupersync_quarantine WHERE group_name = 'main' AND pipeline = 'people'"
        " AND (false OR resolved_at IS NULL) AND id < 100 ORDER BY id DESC LIMIT 50"
    )

    assert "qupersync_quarantine_waiting" in "\n".join(row[0] for row in plan)
    assert "Sort" not in "\n".join(row[0] for row in plan)


async def test_a_group_without_loaders_is_named_with_the_cure(in_target: TargetHarness) -> None:
    place = Place(pipeline=PEOPLE, group=GroupName("nobody"))

    with pytest.raises(TransientError, match="no loader of group nobody answers for people") as refused:
        await in_target.parked.page(place, Wanted(kind=ROWS))
    assert "--group nobody" in refused.value.cure


async def test_a_target_that_is_away_is_told_as_passing(
    in_target: TargetHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_target.target.execute("ALTER TABLE qupersync_quarantine RENAME TO away")

    with pytest.raises(TransientError, match="qupersync_quarantine"):
        await in_target.parked.reasons(in_target.place, ROWS)


async def test_a_defect_is_told_and_the_next_question_answered(
    in_target: TargetHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def defect(*_: object) -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patched:
        patched.setattr(in_target.content, "reasons", defect)
        with pytest.raises(Exception, match="could not answer"):
            await in_target.parked.reasons(in_target.place, ROWS)

    assert (await in_target.parked.reasons(in_target.place, ROWS)).total == 0


async def test_many_questions_at_once_are_all_answered(in_target: TargetHarness) -> None:
    await in_target.park("too broad")

    found = await asyncio.gather(*(in_target.parked.reasons(in_target.place, ROWS) for _ in range(20)))

    assert [one.total for one in found] == [1] * 20


async def test_rebuilds_without_loaders_say_so(local_stack: conftest.ThreadedStack) -> None:
    connection = Connection(NatsSection(servers=[local_stack.stack.nats.url]), name="test")
    try:
        with pytest.raises(TransientError, match="no loader of group nobody answers for its rebuilds"):
            await RebuildsInTargets(connection, patience_seconds=0.1).list(GroupName("nobody"))
        with pytest.raises(TransientError, match="no loader of group nobody"):
            await ParkedInTargets(connection, patience_seconds=0.1).page(
                Place(pipeline=PEOPLE, group=GroupName("nobody")), Wanted(kind=ROWS)
            )
    finally:
        await connection.close()
