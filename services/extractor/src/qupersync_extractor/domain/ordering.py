"""How scalars, keys and positions compare: as the target does (text in binary UTF-8 order, NULLs nowhere)."""

from decimal import Decimal
from typing import Any

from qupersync_shared.kernel.positions import Key, KeyBound, Position, Scalar, ScalarKind


def scalar_order(scalar: Scalar) -> Any:
    """A sort key among scalars of one kind."""
    match scalar.kind:
        case ScalarKind.INT:
            return int(scalar.text)
        case ScalarKind.NUMERIC:
            return Decimal(scalar.text)
        case ScalarKind.BOOLEAN:
            return scalar.text == "true"
        case ScalarKind.DATE | ScalarKind.TIMESTAMP | ScalarKind.TIMESTAMPTZ:
            sign, text = ("-", scalar.text[1:]) if scalar.text.startswith("-") else ("", scalar.text)
            year, separator, rest = text.partition("-")
            return (int(sign + year), rest) if separator else (0, scalar.text)
        case _:
            return scalar.text.encode()


def key_order(key: Key) -> tuple[Any, ...]:
    """A sort key among keys of one pipeline."""
    return tuple(scalar_order(scalar) for scalar in key)


def position_order(position: Position) -> tuple[Any, int, tuple[Any, ...]]:
    """A sort key among positions of one pipeline."""
    match position.key:
        case KeyBound.LOWEST:
            return scalar_order(position.cursor), 0, ()
        case KeyBound.HIGHEST:
            return scalar_order(position.cursor), 2, ()
        case key:
            return scalar_order(position.cursor), 1, key_order(key)
