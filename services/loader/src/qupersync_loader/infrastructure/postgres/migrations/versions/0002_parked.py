"""What is parked gets resolved: by rereads, by later snapshots, or by a person; and is forgotten some time after."""  # noqa: INP001  # Alembic loads it by path

from pathlib import Path

from alembic import op

from qupersync_shared.runtime.migrations import execute_script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    execute_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
