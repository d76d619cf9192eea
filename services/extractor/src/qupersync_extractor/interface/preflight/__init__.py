"""The extractor's part of `qupersync check`, by subject, and of what a process looks at when it starts."""

from qupersync_extractor.interface.preflight.checks import extractor_checks

__all__ = ["extractor_checks"]
