"""The revisions of the loader's tables in the target database; Alembic loads them by path."""
