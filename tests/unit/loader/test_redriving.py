"""What a dead letter is redriven by: its span, its range, its keys, or nothing but a snapshot."""

from tests.conformance.loader.events import Event, Extractor, ints, people

from qupersync_loader.application.redriving import redrive_of
from qupersync_shared.contracts.commands import RereadRequest
from qupersync_shared.kernel.ids import GroupName, uuid7
from qupersync_shared.kernel.positions import Position, Scalar, ScalarKind, encode_key, encode_position


def redriven(event: Event, body: bytes = b"", *, keeps: bool = False) -> RereadRequest | None:
    return redrive_of(event.envelope, body, group=GroupName("main"), keeps=keeps)


def position(number: int) -> Position:
    return Position(cursor=Scalar(ScalarKind.INT, str(number)), key=ints(number))


def test_an_incremental_page_is_read_again_by_its_span() -> None:
    event = Extractor().incremental(people(1), after=position(3), position=position(7))[0]
    request = redriven(event)
    assert request is not None
    assert request.cursor_span is not None
    assert (request.cursor_span.after, request.cursor_span.upto) == tuple(
        encode_position(position(number)) for number in (3, 7)
    )
    assert request.redrives == (event.envelope.id,)
    begun = redriven(Extractor().incremental(position=position(7))[0])
    assert begun is not None
    assert begun.cursor_span is not None
    assert begun.cursor_span.after is None


def test_a_page_that_covers_a_range_is_read_again_by_it() -> None:
    source = Extractor()
    event = source.page(people(1), upto=ints(9), position=position(7))[0]
    request = redriven(event)
    assert request is not None
    assert request.key_span is not None
    assert (request.key_span.after, request.key_span.upto) == (None, encode_key(ints(9)))
    ranged = redriven(source.reread(range_from=ints(1), range_to=None, range_complete=True)[0])
    assert ranged is not None
    assert ranged.key_span is not None
    assert (ranged.key_span.after, ranged.key_span.upto) == (encode_key(ints(1)), None)


def test_a_reread_of_keys_is_read_again_by_them_if_they_can_be_read() -> None:
    earlier = uuid7()
    # The position is the pipeline's: a read up to it would not find the key that is gone.
    event = Extractor().reread(people(1), gone=people(2), redrives=(earlier,), position=position(7))[0]
    request = redriven(event, event.body)
    assert request is not None
    assert request.keys == (encode_key(ints(1)), encode_key(ints(2)))
    assert request.redrives == (event.envelope.id, earlier)
    assert redriven(event, b"not arrow") is None


def test_all_is_read_again_where_nothing_is_deleted_and_the_event_cannot_be_read() -> None:
    event = Extractor().reread(people(1), position=position(7))[0]
    request = redriven(event, b"not arrow", keeps=True)
    assert request is not None
    assert request.key_span is not None
    assert (request.key_span.after, request.key_span.upto) == (None, None)
    assert request.redrives == (event.envelope.id,)
