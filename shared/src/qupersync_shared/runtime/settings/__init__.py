"""The configuration file: one model, one loader, errors that name file, line, key and cure."""

from qupersync_shared.runtime.settings.loading import DEFAULT_PATH, PATH_VARIABLE, configuration_path, load
from qupersync_shared.runtime.settings.model import (
    Configuration,
    DatabaseSection,
    DuckDbSource,
    ExtractorSection,
    LoaderSection,
    ModelsSection,
    NatsSection,
    PipelineSection,
    RedshiftSource,
    Schedule,
    ScoreSection,
)

__all__ = [
    "DEFAULT_PATH",
    "PATH_VARIABLE",
    "Configuration",
    "DatabaseSection",
    "DuckDbSource",
    "ExtractorSection",
    "LoaderSection",
    "ModelsSection",
    "NatsSection",
    "PipelineSection",
    "RedshiftSource",
    "Schedule",
    "ScoreSection",
    "configuration_path",
    "load",
]
