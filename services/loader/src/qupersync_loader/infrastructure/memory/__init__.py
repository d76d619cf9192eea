"""The in-memory twin of the target."""
