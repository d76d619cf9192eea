"""Positions: where a read of a source stands, typed and versioned, readable by people and by SQL.

A key is a tuple of scalars in canonical form; a position is a cursor value and a key, compared as a whole.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

CODEC_VERSION = 1

_T = TypeVar("_T")


class ScalarKind(StrEnum):
    """How a scalar's canonical text is to be read; the wire names are part of the contract."""

    INT = "int"
    NUMERIC = "numeric"
    TEXT = "text"
    BOOLEAN = "boolean"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    UUID = "uuid"
    BYTES = "bytes"


class KeyBound(StrEnum):
    """Stands for a key below every key, or above every key, of one cursor value."""

    LOWEST = "lowest"
    HIGHEST = "highest"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value in canonical form: `int` decimal digits; `numeric` plain digits without trailing zeros; `text` without
    trailing blanks; `boolean` true/false; `date` YYYY-MM-DD; `timestamp` YYYY-MM-DD HH:MM:SS.ffffff; `timestamptz` the
    same in UTC with a trailing Z; `time` HH:MM:SS.ffffff; `uuid` and `bytes` lower-case hexadecimal without dashes.
    """

    kind: ScalarKind
    text: str


Key = tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where an incremental read stands: everything up to (cursor, key) has been read."""

    cursor: Scalar
    key: Key | KeyBound

    @classmethod
    def before(cls, cursor: Scalar) -> "Position":
        """Before every row with this cursor value."""
        return cls(cursor=cursor, key=KeyBound.LOWEST)

    @classmethod
    def after(cls, cursor: Scalar) -> "Position":
        """After every row with this cursor value."""
        return cls(cursor=cursor, key=KeyBound.HIGHEST)


def encode_key(key: Key) -> str:
    """A key as compact ASCII JSON, with the codec's version."""
    return _dump({"v": CODEC_VERSION, "key": _plain(key)})


def decode_key(text: str) -> Key:
    """The key that `encode_key` wrote; ValueError for anything else."""
    return _decoded(text, lambda loaded: _key(loaded["key"]))


def encode_keys(keys: tuple[Key, ...]) -> str:
    return _dump({"v": CODEC_VERSION, "keys": [_plain(key) for key in keys]})


def decode_keys(text: str) -> tuple[Key, ...]:
    return _decoded(text, lambda loaded: tuple(_key(key) for key in loaded["keys"]))


def encode_scalar(scalar: Scalar) -> str:
    return _dump({"v": CODEC_VERSION, "scalar": [scalar.kind.value, scalar.text]})


def decode_scalar(text: str) -> Scalar:
    return _decoded(text, lambda loaded: _scalar(loaded["scalar"]))


def encode_position(position: Position) -> str:
    """A position as compact ASCII JSON, with the codec's version."""
    key = position.key.value if isinstance(position.key, KeyBound) else _plain(position.key)
    return _dump({"v": CODEC_VERSION, "cursor": [position.cursor.kind.value, position.cursor.text], "key": key})


def decode_position(text: str) -> Position:
    """The position that `encode_position` wrote; ValueError for anything else."""
    return _decoded(text, _position)


def _position(loaded: dict[str, Any]) -> Position:
    key = loaded["key"]
    return Position(cursor=_scalar(loaded["cursor"]), key=KeyBound(key) if isinstance(key, str) else _key(key))


def _plain(key: Key) -> list[list[str]]:
    return [[scalar.kind.value, scalar.text] for scalar in key]


def _key(plain: list[list[str]]) -> Key:
    return tuple(_scalar(part) for part in plain)


def _scalar(plain: list[str]) -> Scalar:
    kind, text = plain
    return Scalar(ScalarKind(kind), str(text))


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


def _decoded(text: str, read: Callable[[dict[str, Any]], _T]) -> _T:
    try:
        loaded = json.loads(text)
        if isinstance(loaded, dict) and loaded.get("v") == CODEC_VERSION:
            return read(loaded)
    except (ValueError, KeyError, TypeError):
        pass  # whatever is wrong with it, it is not what the encoder wrote
    raise ValueError(f"not a position or key of codec version {CODEC_VERSION}: {text[:100]}")
