"""Which columns a pipeline has filled: those that its source drops are NULL from then on."""  # noqa: INP001  # Alembic loads it by path

from pathlib import Path

from alembic import op

from qupersync_shared.runtime.migrations import execute_script

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    execute_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
