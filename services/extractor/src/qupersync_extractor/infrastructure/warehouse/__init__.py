"""Adapters of the warehouse's repositories over a DuckDB file, and the features that scoring takes from it."""
