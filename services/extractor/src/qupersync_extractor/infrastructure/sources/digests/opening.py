"""A source of a comparison's own, beside the one that pages are read from: extraction never waits for it."""

from dataclasses import replace
from typing import Final

from qupersync_extractor.application.ports import Source
from qupersync_extractor.application.verifying.ports import SourceDigests
from qupersync_extractor.infrastructure.sources.factory import redshift_options
from qupersync_shared.runtime.settings.model import DuckDbSource as DuckDbSection
from qupersync_shared.runtime.settings.model import RedshiftSource as RedshiftSection

_CONNECTIONS: Final = 1


def open_digests(
    section: RedshiftSection | DuckDbSection, place: str = "qupersync.yaml"
) -> tuple[Source, SourceDigests]:
    """The source of this section and its digests; nothing is connected yet. Closing the source closes both."""
    if isinstance(section, DuckDbSection):
        from qupersync_extractor.infrastructure.sources.digests.duckdb import DuckDbDigests
        from qupersync_extractor.infrastructure.sources.duckdb import DuckDbSource

        duckdb = DuckDbSource(section.path)
        return duckdb, DuckDbDigests(duckdb)
    from qupersync_extractor.infrastructure.sources.digests.redshift import RedshiftDigests
    from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource

    redshift = RedshiftSource(replace(redshift_options(section, place), connections=_CONNECTIONS))
    return redshift, RedshiftDigests(redshift)
