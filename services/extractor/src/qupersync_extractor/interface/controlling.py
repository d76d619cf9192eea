"""The control API beside a process's pipelines. What serves HTTP is imported where it is configured, not before."""

from collections.abc import Callable

from qupersync_extractor.bootstrap import Workshop
from qupersync_shared.runtime.configuration_file import ConfigurationFile
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.settings import Configuration


def check_control(configuration: Configuration) -> None:
    """ConfigurationError for tokens that nobody could use."""
    if configuration.control is not None:
        from qupersync_extractor.interface.api.serving import check_tokens

        check_tokens(configuration)


async def serve_control(shop: Workshop, configured: Callable[[], Configuration], stop: Stop) -> None:
    """Serves the API where the configuration says so, until the stop; whatever happens to it, the process goes on."""
    if shop.configuration.control is not None:
        from qupersync_extractor.interface.api.serving import serve_api

        await serve_api(shop, configured, stop, shop.configuration.control)


async def run_control(file: ConfigurationFile, stop: Stop, *, path: str) -> int:
    """A process that serves the API and the status page alone. ConfigurationError where it is not configured."""
    from qupersync_extractor.interface.api.serving import run_api

    return await run_api(file, stop, path=path)
