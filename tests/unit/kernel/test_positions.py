from hypothesis import given
from hypothesis import strategies as st

from qupersync_shared.kernel.positions import (
    KeyBound,
    Position,
    Scalar,
    ScalarKind,
    decode_key,
    decode_keys,
    decode_position,
    decode_scalar,
    encode_key,
    encode_keys,
    encode_position,
    encode_scalar,
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.builds(Scalar, st.sampled_from(ScalarKind), texts)
keys = st.lists(scalars, max_size=4).map(tuple)
positions = st.builds(Position, cursor=scalars, key=keys | st.sampled_from(KeyBound))


@given(keys)
def test_a_key_survives_the_codec_as_ascii(key: tuple[Scalar, ...]) -> None:
    assert decode_key(encode_key(key)) == key
    assert encode_key(key).isascii()


@given(st.lists(keys, max_size=3).map(tuple))
def test_keys_survive_the_codec(many: tuple[tuple[Scalar, ...], ...]) -> None:
    assert decode_keys(encode_keys(many)) == many


@given(scalars)
def test_a_scalar_survives_the_codec(scalar: Scalar) -> None:
    assert decode_scalar(encode_scalar(scalar)) == scalar


@given(positions)
def test_a_position_survives_the_codec_as_ascii(position: Position) -> None:
    assert decode_position(encode_position(position)) == position
    assert encode_position(position).isascii()


@given(positions, positions)
def test_different_positions_have_different_texts(one: Position, other: Position) -> None:
    assert (encode_position(one) == encode_position(other)) == (one == other)


def test_before_and_after_bound_every_key_of_a_cursor_value() -> None:
    cursor = Scalar(ScalarKind.INT, "1")

    assert Position.before(cursor).key is KeyBound.LOWEST
    assert Position.after(cursor).key is KeyBound.HIGHEST
