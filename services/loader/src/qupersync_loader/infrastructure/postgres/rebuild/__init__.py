"""Rebuilds on PostgreSQL: a shadow beside the live table, the comparison, and how they change places."""
