"""Whole query texts out of pieces of 200 bytes whose blanks at the end are lost."""

from hypothesis import given
from hypothesis import strategies as st

from qupersync_extractor.infrastructure.sources.catalogue.query_history import joined

PIECE = 200


def pieces_of(text: str) -> list[str]:
    """As the view keeps them: no character is split, and CHAR forgets blanks at the end."""
    rest, pieces = text, []
    while rest:
        piece = rest.encode()[:PIECE].decode(errors="ignore")
        pieces.append(piece.rstrip(" "))
        rest = rest[len(piece) :]
    return pieces


def test_a_blank_between_two_pieces_is_one() -> None:
    text = "SELECT " + "a" * 193 + "FROM t"
    assert joined(pieces_of(text)) == text
    text = "SELECT " + "a" * 192 + " FROM t"
    assert pieces_of(text)[0].endswith("a")
    assert joined(pieces_of(text)) == text


def test_a_character_that_did_not_fit_is_no_blank() -> None:
    text = "x" * 199 + "é" * 300 + "€" * 150
    assert joined(pieces_of(text)) == text


def test_nothing_but_blanks_between() -> None:
    text = "a" + " " * 450 + "b"
    assert joined(pieces_of(text)) == text


@given(st.text(alphabet="ab ,\n\\", max_size=900))
def test_ascii_texts_are_whole(text: str) -> None:
    assert joined(pieces_of(text)) == text.rstrip(" ")


@given(st.text(alphabet="aé€😀", max_size=400))
def test_texts_without_blanks_are_whole(text: str) -> None:
    assert joined(pieces_of(text)) == text
