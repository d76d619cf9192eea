"""Parked content is read page by page, newest first, and says who gave it up."""  # noqa: INP001  # Alembic loads it by path

from pathlib import Path

from alembic import op

from qupersync_shared.runtime.migrations import execute_script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    execute_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
