"""What of migrations needs no server; the rest stands in tests/integration/persistence."""

from types import SimpleNamespace
from typing import Any

import pytest

from qupersync_shared.kernel.errors import DatabaseUnavailableError, TerminalError
from qupersync_shared.runtime.migrations import execute_script, migrate, run_env


def test_alembics_own_command_line_is_refused() -> None:
    with pytest.raises(TerminalError, match="migrate"):
        run_env(SimpleNamespace(config=SimpleNamespace(attributes={})))


async def test_without_a_server_the_reason_is_clear() -> None:
    with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
        await migrate(
            "postgresql://nobody@127.0.0.1:1/none", script_location="json:tool", version_table="v", lock_name="l"
        )


def test_a_script_outside_the_migrations_transaction_is_refused(tmp_path: Any) -> None:
    """It would commit by itself."""
    script = tmp_path / "0001.sql"
    script.write_text("CREATE TABLE a ();")
    executed: list[str] = []

    class Driver:
        def is_in_transaction(self) -> bool:
            return False

        async def execute(self, sql: str) -> None:
            executed.append(sql)

    def run_async(work: Any) -> None:
        coroutine = work(Driver())
        try:
            coroutine.send(None)
        finally:
            coroutine.close()

    connection: Any = SimpleNamespace(connection=SimpleNamespace(dbapi_connection=SimpleNamespace(run_async=run_async)))
    with pytest.raises(RuntimeError, match="transaction"):
        execute_script(connection, script)
    assert executed == []
