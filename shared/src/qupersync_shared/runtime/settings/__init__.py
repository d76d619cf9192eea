"""The configuration file: one model, one loader, errors that name file, line, key and cure."""

from qupersync_shared.runtime.settings.control import (
    BudgetSection,
    ControlSection,
    ListenSection,
    TokenSection,
    WindowSection,
)
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
    "BudgetSection",
    "Configuration",
    "ControlSection",
    "DatabaseSection",
    "DuckDbSource",
    "ExtractorSection",
    "ListenSection",
    "LoaderSection",
    "ModelsSection",
    "NatsSection",
    "PipelineSection",
    "RedshiftSource",
    "Schedule",
    "ScoreSection",
    "TokenSection",
    "WindowSection",
    "configuration_path",
    "load",
]
