"""The port `Source` over Redshift and over DuckDB."""

from qupersync_extractor.infrastructure.sources.factory import build_probe, build_source

__all__ = ["build_probe", "build_source"]
