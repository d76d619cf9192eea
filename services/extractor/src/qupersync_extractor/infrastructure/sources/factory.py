"""The source adapter that a configuration asks for."""

from dataclasses import replace
from typing import TYPE_CHECKING

from qupersync_extractor.application.ports import Source
from qupersync_extractor.application.probing import SourceProbe
from qupersync_extractor.application.remembering import Remembered
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.settings.model import DuckDbSource as DuckDbSection
from qupersync_shared.runtime.settings.model import RedshiftSource as RedshiftSection

if TYPE_CHECKING:
    from qupersync_extractor.infrastructure.sources.redshift_connection import RedshiftOptions


def build_source(
    section: RedshiftSection | DuckDbSection, place: str = "qupersync.yaml", *, remembered: Remembered | None = None
) -> Source:
    """The source of this section; nothing is connected yet. ConfigurationError when the password is missing.

    The drivers are imported here, so that a process loads only the one it needs. `remembered` keeps what Redshift's
    system views forget; without it, entities tell only what the views still know.
    """
    if isinstance(section, DuckDbSection):
        from qupersync_extractor.infrastructure.sources.duckdb import DuckDbSource

        return DuckDbSource(section.path)
    from qupersync_extractor.infrastructure.aws.node_types import AwsNodeTypes
    from qupersync_extractor.infrastructure.sources.catalogue import CatalogueSource
    from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource

    return CatalogueSource(
        RedshiftSource(redshift_options(section, place)),
        user=section.user,
        place=f"{section.host}:{section.port}/{section.database}",
        remembered=remembered,
        node_types=AwsNodeTypes(section.host),
    )


def build_probe(section: RedshiftSection | DuckDbSection, place: str = "qupersync.yaml") -> SourceProbe:
    """The same source with the questions of a preflight, and one connection for them."""
    if isinstance(section, DuckDbSection):
        from qupersync_extractor.infrastructure.sources.duckdb_probe import DuckDbProbe

        return DuckDbProbe(section.path)
    from qupersync_extractor.infrastructure.sources.redshift_probe import RedshiftProbe

    return RedshiftProbe(replace(redshift_options(section, place), connections=1))


def redshift_options(section: RedshiftSection, place: str) -> "RedshiftOptions":
    """How the section's cluster is reached; ConfigurationError when the password is missing."""
    if section.password is None:
        raise ConfigurationError(
            "source.password is missing",
            place=place,
            cure="set QUPERSYNC_SOURCE__PASSWORD, or name a file in source.password_file",
        )
    from qupersync_extractor.infrastructure.sources.redshift_connection import RedshiftOptions

    return RedshiftOptions(
        host=section.host,
        port=section.port,
        database=section.database,
        user=section.user,
        password=section.password.get_secret_value(),
        sslmode=section.sslmode,
        connections=section.connections,
        connect_timeout_seconds=section.connect_timeout.total_seconds(),
        statement_timeout_seconds=section.statement_timeout.total_seconds(),
        query_group=section.query_group,
    )
