"""What all ready-made entities share: typed columns, validation, and a plain form of a row."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Self, get_type_hints

from qupersync_extractor.domain.catalogue.columns import TIMESTAMPTZ, ColumnRule, ColumnType, rule_of
from qupersync_shared.kernel.errors import TerminalError

SYNCED_AT: Final = "synced_at"
SyncedAt = Annotated[datetime | None, TIMESTAMPTZ]


class EntityRefusedError(TerminalError, ValueError):
    """A value that an entity cannot hold: names entity and field, and says of the value only what kind it is of."""

    def __init__(self, entity: str, field: str, problem: str, *, cure: str) -> None:
        super().__init__(f"{entity}.{field} {problem}", cure=cure)
        self.entity = entity
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A row of a ready-made pipeline, checked in construction; EntityRefusedError where a value does not fit its field.

    A subclass says each column's logical type in its annotation (`Annotated[int, BIGINT]`), in the order of the
    columns, and ends with `synced_at`, which the loader writes at the target: no source has it.
    """

    NAME: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        for name, rule in _rules(type(self)).items():
            problem = rule.problem(getattr(self, name))
            if problem is not None:
                raise EntityRefusedError(self.NAME, name, problem, cure=rule.cure)

    @classmethod
    def field_types(cls) -> dict[str, ColumnType]:
        """The columns a source gives, in order, with their logical types: all fields but `synced_at`."""
        return {name: rule.type for name, rule in _rules(cls).items() if name != SYNCED_AT}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The entity in a row of the target or the source.

        Columns that the entity does not have are left aside (`_qs_…`, scores, an operator's own); one that it needs
        and the row lacks is an EntityRefusedError. Only fields with a default may be missing.
        """
        values = {}
        for field in fields(cls):
            if field.name in row:
                values[field.name] = row[field.name]
            elif field.default is MISSING:
                raise EntityRefusedError(
                    cls.NAME, field.name, "is missing from the row", cure="Select every column of the entity by name"
                )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All fields in order, as JSON can hold them: exact numbers and moments as text."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def derived(self) -> dict[str, Any]:
        """What follows from the fields, by property name, as JSON can hold it."""
        return {name: _plain(getattr(self, name)) for name in _derived_names(type(self))}


def _plain(value: Any) -> Any:
    match value:
        case datetime() | date():
            return value.isoformat()
        case Decimal():
            return format(value, "f") if value.is_finite() else str(value)
        case float() if value - value != 0:  # NaN or infinite: JSON has no number for it
            return str(value)
        case bytes():
            return value.hex()
        case str() | int() | float() | dict() | list() | None:
            return value
    return str(value)


def _rules(cls: type[Entity]) -> dict[str, ColumnRule]:
    if cls not in _RULES:
        hints = get_type_hints(cls, include_extras=True)
        _RULES[cls] = {field.name: rule_of(hints[field.name]) for field in fields(cls)}
    return _RULES[cls]


def _derived_names(cls: type[Entity]) -> tuple[str, ...]:
    return tuple(name for name, value in vars(cls).items() if isinstance(value, property))


_RULES: Final[dict[type[Entity], dict[str, ColumnRule]]] = {}
