"""The configuration file: one model, one loader, errors that name file, line, key and cure."""

from qupersync_shared.runtime.settings.loading import DEFAULT_PATH, PATH_VARIABLE, configuration_path, load
from qupersync_shared.runtime.settings.model import (
    Configuration,
    DatabaseSection,
    DuckDbSource,
    ExtractorSection,
    LoaderSection,
    NatsSection,
    PipelineSection,
    RedshiftSource,
    Schedule,
)

__all__ = [
    "DEFAULT_PATH",
    "PATH_VARIABLE",
    "Configuration",
    "DatabaseSection",
    "DuckDbSource",
    "ExtractorSection",
    "LoaderSection",
    "NatsSection",
    "PipelineSection",
    "RedshiftSource",
    "Schedule",
    "configuration_path",
    "load",
]
