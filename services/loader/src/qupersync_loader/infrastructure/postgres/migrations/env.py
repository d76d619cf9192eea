"""What Alembic runs; started by `qupersync_shared.runtime.migrations.migrate` alone."""

from alembic import context

from qupersync_shared.runtime.migrations import run_env

run_env(context)
