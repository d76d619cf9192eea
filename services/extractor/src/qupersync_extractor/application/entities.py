"""Entities as the wire format sees them: the domain names types, and knows nothing of Arrow."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from qupersync_extractor.domain.catalogue import ENTITY_CLASSES, Entity
from qupersync_extractor.domain.warehouse import Customer, UsageEvent
from qupersync_shared.contracts.schema import Column
from qupersync_shared.contracts.types import LogicalType

# The classes of every ready-made pipeline, those of the embedded warehouse included, by the name it has as `entity`.
READY_MADE: Final[Mapping[str, type[Entity]]] = MappingProxyType(
    {**ENTITY_CLASSES, **{cls.NAME: cls for cls in (Customer, UsageEvent)}}
)


def entity_columns(entity: type[Entity]) -> tuple[Column, ...]:
    """The columns that a source gives of this entity, in order; `synced_at` is the loader's."""
    return tuple(Column(name, LogicalType.parse(kind.name)) for name, kind in entity.field_types().items())
