"""Lanes, commands and progress on NATS."""
