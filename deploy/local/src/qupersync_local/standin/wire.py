"""Messages of the wire protocol that the stand-in reads or makes, as pure functions over bytes."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

PROTOCOL_3 = 196608
SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102

NUMERIC = 1700
SUPER = 4000
VARBYTE = 6551
GEOMETRY = 3000
GEOGRAPHY = 3001

# What redshift-connector adds to the startup packet and PostgreSQL would refuse as unknown settings.
REDSHIFT_ONLY = frozenset(
    {
        "client_protocol_version",
        "driver_version",
        "os_version",
        "driver_discovery_version",
        "plugin_name",
        "idp_type",
        "provider_name",
        "identity_namespace",
        "token_type",
        "idc_client_display_name",
    }
)

_LENGTH = struct.Struct("!i")
_COUNT = struct.Struct("!h")
_FIELD = struct.Struct("!ihihih")
_MODIFIER_HEADER = 4
_PRECISION_MAX = 38
_SHORT_PRECISION_MAX = 18
# From protocol 1 on, a column tells schema, table, column and database, and whether it is nullable or an identity.
_EXTENDED = b"\0\0\0\0" + _COUNT.pack(1)


class UntypedNumericError(ValueError):
    """A NUMERIC column without precision and scale: its values cannot be told from garbage by the driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a RowDescription."""

    name: bytes
    table: int
    number: int
    type: int
    size: int
    modifier: int
    format: int

    @property
    def precision(self) -> int:
        return (self.modifier - _MODIFIER_HEADER) >> 16

    @property
    def scale(self) -> int:
        return (self.modifier - _MODIFIER_HEADER) & 0x7FF

    @property
    def width(self) -> int:
        """Bytes of a NUMERIC value in protocol 2."""
        return 8 if self.precision <= _SHORT_PRECISION_MAX else 16


def message(kind: bytes, body: bytes) -> bytes:
    """Frame a body."""
    return kind + _LENGTH.pack(len(body) + 4) + body


def startup_parameters(body: bytes) -> dict[str, str]:
    """The parameters of a startup packet (without its length and protocol number)."""
    parts = body.split(b"\0")
    pairs = zip(parts[::2], parts[1::2], strict=False)
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in pairs if key}


def startup_packet(parameters: Mapping[str, str]) -> bytes:
    """A startup packet of protocol 3.0."""
    body = b"".join(key.encode() + b"\0" + value.encode() + b"\0" for key, value in parameters.items()) + b"\0"
    return _LENGTH.pack(len(body) + 8) + _LENGTH.pack(PROTOCOL_3) + body


def parameter_status(name: str, value: str) -> bytes:
    return message(b"S", name.encode() + b"\0" + value.encode() + b"\0")


def error(*, code: str, text: str, detail: str = "", severity: str = "ERROR") -> bytes:
    """An ErrorResponse."""
    fields = [("S", severity), ("C", code), ("M", text)] + ([("D", detail)] if detail else [])
    return message(b"E", b"".join(key.encode() + value.encode() + b"\0" for key, value in fields) + b"\0")


def error_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse by their letters."""
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in body.split(b"\0") if part}


def columns(body: bytes, types: Mapping[int, int]) -> tuple[Column, ...]:
    """Read a RowDescription; `types` maps the OIDs that PostgreSQL gave to the types of Redshift."""
    (count,) = _COUNT.unpack_from(body)
    found, place = [], 2
    for _ in range(count):
        end = body.index(b"\0", place)
        table, number, oid, size, modifier, form = _FIELD.unpack_from(body, end + 1)
        found.append(
            Column(
                name=body[place:end],
                table=table,
                number=number,
                type=types.get(oid, oid),
                size=size,
                modifier=modifier,
                format=form,
            )
        )
        place = end + 1 + _FIELD.size
    return tuple(found)


def row_description(described: Iterable[Column], *, extended: bool) -> bytes:
    """Make a RowDescription; `extended` adds what protocol 1 and 2 tell of each column."""
    tail = _EXTENDED if extended else b""
    parts = [
        column.name
        + b"\0"
        + _FIELD.pack(column.table, column.number, column.type, column.size, column.modifier, column.format)
        + tail
        for column in described
    ]
    return message(b"T", _COUNT.pack(len(parts)) + b"".join(parts))


def with_formats(described: tuple[Column, ...], formats: tuple[int, ...]) -> tuple[Column, ...]:
    """Columns with the formats that a Bind asked for: none is text, one is for all."""
    if not formats:
        chosen: tuple[int, ...] = (0,) * len(described)
    elif len(formats) == 1:
        chosen = formats * len(described)
    else:
        chosen = formats
    return tuple(replace(column, format=form) for column, form in zip(described, chosen, strict=False))


def check_numerics(described: Iterable[Column]) -> None:
    """Raise `UntypedNumericError` for a NUMERIC without modifier or wider than Redshift allows."""
    for column in described:
        if column.type == NUMERIC and (column.modifier == -1 or column.precision > _PRECISION_MAX):
            raise UntypedNumericError(
                f'column "{column.name.decode(errors="replace")}" is a NUMERIC without precision and scale '
                f"(or beyond {_PRECISION_MAX} digits): CAST it"
            )


def cstring(body: bytes, place: int) -> tuple[bytes, int]:
    """The zero-terminated string at `place`, and where the next field begins."""
    end = body.index(b"\0", place)
    return body[place:end], end + 1


def bound(body: bytes) -> tuple[bytes, bytes, tuple[int, ...]]:
    """Portal, statement and result formats of a Bind."""
    portal, place = cstring(body, 0)
    statement, place = cstring(body, place)
    (formats,) = _COUNT.unpack_from(body, place)
    place += 2 + 2 * formats
    (values,) = _COUNT.unpack_from(body, place)
    place += 2
    for _ in range(values):
        (size,) = _LENGTH.unpack_from(body, place)
        place += 4 + max(size, 0)
    (results,) = _COUNT.unpack_from(body, place)
    return portal, statement, struct.unpack_from(f"!{results}h", body, place + 2)
