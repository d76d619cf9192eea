"""The loader's part of `qupersync check`, and of what a process looks at when it starts."""

from qupersync_loader.interface.preflight.checks import loader_checks

__all__ = ["loader_checks"]
