"""Rebuilding a table from the stream beside live loading, and replaying a part of the stream into another table."""
