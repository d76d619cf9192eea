"""The configuration with some of its pipelines alone, as they were named on the command line."""

from collections.abc import Sequence

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.settings import Configuration


def narrowed(configuration: Configuration, names: Sequence[str]) -> Configuration:
    """The configuration with these pipelines alone, or all without a name; ConfigurationError for an unknown one."""
    for name in names:
        if name not in configuration.pipelines:
            known = ", ".join(sorted(configuration.pipelines)) or "none"
            raise ConfigurationError(
                f"there is no pipeline {name!r}", place="pipelines", cure=f"Known pipelines: {known}"
            )
    if not names:
        return configuration
    chosen = {name: section for name, section in configuration.pipelines.items() if name in names}
    return configuration.model_copy(update={"pipelines": chosen})
