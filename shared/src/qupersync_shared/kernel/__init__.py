"""Ids, positions, clock and errors: the words every layer may use. Imports the standard library only."""
