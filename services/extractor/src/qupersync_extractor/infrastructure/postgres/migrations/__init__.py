"""The revisions of the outbox database; Alembic loads them by path."""
