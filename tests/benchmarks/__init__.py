"""Measurements: written down, never asserted by the clock."""
