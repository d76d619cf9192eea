"""Exact texts: the same for the same value, whoever wrote it, and made within bounds."""

import pytest

from qupersync_shared.contracts.row_digests import LEVELS_SEEN, normal_text
from qupersync_shared.contracts.types import LogicalType

JSON = LogicalType.parse("super")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.50", "1.5"),
        ("1e3", "1000"),
        ("-0.0", "0"),
        ('{"b": 1, "a": [10]}', '{"a":[1e1],"b":1.0}'),
        ("12345678901234567890123456789012345678901.10", "12345678901234567890123456789012345678901.1"),
    ],
)
def test_two_ways_to_write_a_value_are_one(one: str, other: str) -> None:
    assert normal_text(one, JSON) == normal_text(other, JSON)


@pytest.mark.parametrize(("one", "other"), [("1e400", "1e401"), ("1", "-1"), ('"1"', "1"), ("1.0000000000001", "1")])
def test_two_values_are_two(one: str, other: str) -> None:
    assert normal_text(one, JSON) != normal_text(other, JSON)


@pytest.mark.parametrize("number", ["1e999999999999", "-1e-999999999999", "[1e999999999999]"])
def test_a_number_with_more_zeros_than_memory_has_room_for_stays_short(number: str) -> None:
    assert len(normal_text(number, JSON)) < 40


@pytest.mark.parametrize("levels", [LEVELS_SEEN + 1, 990, 100_000])
@pytest.mark.parametrize("brackets", ["[]", '{"":}'])
def test_what_is_nested_deeper_than_pythons_stack_is_not_looked_into(levels: int, brackets: str) -> None:
    deep = brackets[:-1] * levels + ("[]" if brackets[0] == "[" else "0") + brackets[-1] * levels
    assert normal_text(deep, JSON) == normal_text(f" {deep} ", JSON)
    assert len(normal_text(deep, JSON)) < 40


def test_brackets_in_texts_nest_nothing() -> None:
    text = '["' + "[" * 1_000 + '\\"[", 1.0]'
    assert normal_text(text, JSON) == text.replace("1.0", "1").replace(", ", ",")
    whole = "[" * LEVELS_SEEN + "]" * LEVELS_SEEN
    assert normal_text(f"{whole} ", JSON) == whole
