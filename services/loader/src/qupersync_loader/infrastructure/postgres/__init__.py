"""The target database."""
