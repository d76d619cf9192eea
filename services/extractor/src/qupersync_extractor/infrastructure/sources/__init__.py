"""The port `Source` over Redshift and over DuckDB."""

from qupersync_extractor.infrastructure.sources.factory import build_source

__all__ = ["build_source"]
