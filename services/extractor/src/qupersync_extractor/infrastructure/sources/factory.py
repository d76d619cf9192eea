"""The source adapter that a configuration asks for."""

from qupersync_extractor.application.ports import Source
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.settings.model import DuckDbSource as DuckDbSection
from qupersync_shared.runtime.settings.model import RedshiftSource as RedshiftSection


def build_source(section: RedshiftSection | DuckDbSection, place: str = "qupersync.yaml") -> Source:
    """The source of this section; nothing is connected yet. ConfigurationError when the password is missing.

    The drivers are imported here, so that a process loads only the one it needs.
    """
    if isinstance(section, DuckDbSection):
        from qupersync_extractor.infrastructure.sources.duckdb import DuckDbSource

        return DuckDbSource(section.path)
    if section.password is None:
        raise ConfigurationError(
            "source.password is missing",
            place=place,
            cure="set QUPERSYNC_SOURCE__PASSWORD, or name a file in source.password_file",
        )
    from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource
    from qupersync_extractor.infrastructure.sources.redshift_connection import RedshiftOptions

    return RedshiftSource(
        RedshiftOptions(
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
    )
