"""Slots and positions are stored for years: their values are frozen with the wire format."""

from collections.abc import Callable

import pytest

from qupersync_shared.contracts.slots import canonical_bytes, lane_of_slot, slot_of_key
from qupersync_shared.kernel.positions import (
    Key,
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

K = ScalarKind


def key(*parts: tuple[ScalarKind, str]) -> Key:
    return tuple(Scalar(kind, text) for kind, text in parts)


SLOTS: tuple[tuple[Key, bytes, int], ...] = (
    (key((K.INT, "0")), b"1:0,", 572),
    (key((K.INT, "42")), b"2:42,", 2500),
    (key((K.INT, "-9223372036854775808")), b"20:-9223372036854775808,", 845),
    (key((K.NUMERIC, "0")), b"1:0,", 572),
    (key((K.NUMERIC, "1")), b"1:1,", 323),
    (key((K.NUMERIC, "1.5")), b"3:1.5,", 1504),
    (key((K.NUMERIC, "-1234567.5")), b"10:-1234567.5,", 2136),
    (key((K.NUMERIC, "0.000001")), b"8:0.000001,", 2600),
    (key((K.NUMERIC, "-99999999999999999999999999999999999999")), b"39:-99999999999999999999999999999999999999,", 2274),
    (key((K.TEXT, "")), b"0:,", 3774),
    (key((K.TEXT, "abc")), b"3:abc,", 2248),
    (key((K.TEXT, " abc")), b"4: abc,", 1675),
    (key((K.TEXT, "Straße")), b"7:Stra\xc3\x9fe,", 169),
    (key((K.TEXT, "日本😀")), b"10:\xe6\x97\xa5\xe6\x9c\xac\xf0\x9f\x98\x80,", 4024),
    (key((K.TEXT, "1:a,2:b")), b"7:1:a,2:b,", 725),
    (key((K.BOOLEAN, "true")), b"4:true,", 240),
    (key((K.BOOLEAN, "false")), b"5:false,", 3073),
    (key((K.DATE, "2025-03-30")), b"10:2025-03-30,", 1601),
    (key((K.TIME, "23:59:59.999999")), b"15:23:59:59.999999,", 1210),
    (key((K.TIMESTAMP, "2025-03-30 02:30:00.000000")), b"26:2025-03-30 02:30:00.000000,", 836),
    (key((K.TIMESTAMPTZ, "2025-03-30 00:30:00.000000Z")), b"27:2025-03-30 00:30:00.000000Z,", 3661),
    (key((K.UUID, "00112233445566778899aabbccddeeff")), b"32:00112233445566778899aabbccddeeff,", 2854),
    (key((K.BYTES, "00ff")), b"4:00ff,", 3558),
    (key((K.BYTES, "")), b"0:,", 3774),
    (key((K.INT, "1"), (K.TEXT, "2")), b"1:1,1:2,", 1974),
    (key((K.TEXT, "1"), (K.TEXT, "2")), b"1:1,1:2,", 1974),
    (key((K.TEXT, "12"), (K.TEXT, "")), b"2:12,0:,", 556),
    (key((K.TEXT, ""), (K.TEXT, "12")), b"0:,2:12,", 2988),
    (key((K.DATE, "2025-03-30"), (K.INT, "7"), (K.TEXT, "x")), b"10:2025-03-30,1:7,1:x,", 2766),
)

POSITIONS: tuple[tuple[Position, str], ...] = (
    (Position.before(Scalar(K.DATE, "2025-03-30")), '{"v":1,"cursor":["date","2025-03-30"],"key":"lowest"}'),
    (
        Position.after(Scalar(K.TIMESTAMPTZ, "2025-03-30 00:30:00.000000Z")),
        '{"v":1,"cursor":["timestamptz","2025-03-30 00:30:00.000000Z"],"key":"highest"}',
    ),
    (
        Position(cursor=Scalar(K.INT, "-1"), key=key((K.TEXT, "lowest"))),
        '{"v":1,"cursor":["int","-1"],"key":[["text","lowest"]]}',
    ),
    (
        Position(cursor=Scalar(K.TIMESTAMP, "2025-03-30 02:30:00.000000"), key=key((K.INT, "1"), (K.TEXT, "ß"))),
        '{"v":1,"cursor":["timestamp","2025-03-30 02:30:00.000000"],"key":[["int","1"],["text","\\u00df"]]}',
    ),
)


@pytest.mark.parametrize(("given", "canonical", "slot"), SLOTS, ids=lambda value: repr(value)[:40])
def test_slot_of_a_key_is_frozen(given: Key, canonical: bytes, slot: int) -> None:
    assert canonical_bytes(given) == canonical
    assert slot_of_key(given) == slot


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 4096])
def test_lane_is_the_slot_modulo_the_lanes(lanes: int) -> None:
    assert [lane_of_slot(slot, lanes) for slot in (0, 1, 4095)] == [0, 1 % lanes, 4095 % lanes]


@pytest.mark.parametrize(("position", "text"), POSITIONS, ids=lambda value: repr(value)[:40])
def test_position_is_written_and_read_as_frozen(position: Position, text: str) -> None:
    assert encode_position(position) == text
    assert decode_position(text) == position


def test_key_keys_and_scalar_are_written_and_read_as_frozen() -> None:
    one, two = key((K.INT, "-5"), (K.TEXT, 'ä,:"')), key((K.UUID, "00ff"))

    assert encode_key(one) == '{"v":1,"key":[["int","-5"],["text","\\u00e4,:\\""]]}'
    assert decode_key(encode_key(one)) == one
    assert encode_keys((one, two)) == ('{"v":1,"keys":[[["int","-5"],["text","\\u00e4,:\\""]],[["uuid","00ff"]]]}')
    assert decode_keys(encode_keys((one, two))) == (one, two)
    assert encode_scalar(one[0]) == '{"v":1,"scalar":["int","-5"]}'
    assert decode_scalar('{"v":1,"scalar":["int","-5"]}') == one[0]


@pytest.mark.parametrize("decode", [decode_key, decode_keys, decode_position, decode_scalar])
@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"v":2,"key":[]}', "null", '"text"', '{"v":1}', '{"v":1,"key":5,"keys":5,"cursor":5,"scalar":5}'],
)
def test_anything_of_another_version_is_refused(decode: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match="not a position or key of codec version 1"):
        decode(text)
