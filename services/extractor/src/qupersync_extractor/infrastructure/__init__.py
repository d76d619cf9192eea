"""Adapters: sources, PostgreSQL, JetStream, and their in-memory twins."""
