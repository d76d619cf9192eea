"""Records of the services' own: who changed them, and how they are listed, filtered and paged."""

from qupersync_shared.runtime.records.audit import Audit, StaleVersionError, whoever
from qupersync_shared.runtime.records.listing import (
    BadCursorError,
    Field,
    Listing,
    Match,
    Page,
    Query,
    UnknownFieldError,
)

__all__ = [
    "Audit",
    "BadCursorError",
    "Field",
    "Listing",
    "Match",
    "Page",
    "Query",
    "StaleVersionError",
    "UnknownFieldError",
    "whoever",
]
