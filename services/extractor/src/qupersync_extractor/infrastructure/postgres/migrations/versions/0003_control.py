"""What people decide of a pipeline: who, when, and in which version."""  # noqa: INP001  # Alembic loads it by path

from pathlib import Path

from alembic import op

from qupersync_shared.runtime.migrations import execute_script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    execute_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
