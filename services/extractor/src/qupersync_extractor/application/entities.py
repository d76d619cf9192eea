"""Entities as the wire format sees them: the domain names types, and knows nothing of Arrow."""

from qupersync_extractor.domain.catalogue import Entity
from qupersync_shared.contracts.schema import Column
from qupersync_shared.contracts.types import LogicalType


def entity_columns(entity: type[Entity]) -> tuple[Column, ...]:
    """The columns that a source gives of this entity, in order; `synced_at` is the loader's."""
    return tuple(Column(name, LogicalType.parse(kind.name)) for name, kind in entity.field_types().items())
