"""Ready-made entities over Redshift's system views: one statement a view, joined here."""

from qupersync_extractor.infrastructure.sources.catalogue.source import CatalogueSource

__all__ = ["CatalogueSource"]
