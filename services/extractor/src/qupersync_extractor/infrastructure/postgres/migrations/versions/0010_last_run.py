"""What extractors know of each other's runs."""  # noqa: INP001  # Alembic loads it by path

from pathlib import Path

from alembic import op

from qupersync_shared.runtime.migrations import execute_script

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    execute_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
