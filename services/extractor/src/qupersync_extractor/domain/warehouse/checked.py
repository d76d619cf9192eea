"""From plain values of a row to value objects, with the error that entities speak."""

from collections.abc import Callable
from typing import Any

from qupersync_extractor.domain.catalogue.entity import Entity, EntityRefusedError


def checked(entity: Entity, field: str, value_object: Callable[[Any], object]) -> None:
    """Puts the value object of a field in place of its plain value; None stays None. For `__post_init__` only."""
    value = getattr(entity, field)
    if value is None:
        return
    try:
        made = value_object(value)
    except ValueError as error:
        problem, _, cure = str(error).partition(": ")
        raise EntityRefusedError(entity.NAME, field, f"is refused ({problem})", cure=cure.capitalize()) from error
    object.__setattr__(entity, field, made)


def check_word(entity: Entity, field: str) -> None:
    """EntityRefusedError for an id that is blank."""
    if not getattr(entity, field).strip():
        raise EntityRefusedError(entity.NAME, field, "is blank", cure="Give the id by which the source knows it")
