"""What digests ask of Redshift beyond other statements, with Redshift's meaning."""

import asyncpg
import pytest

from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.integration


async def test_strtol_and_the_varbyte_functions(local_stack: ThreadedStack) -> None:
    connection = await asyncpg.connect(local_stack.stack.source.admin_dsn)
    try:
        for expression, expected in (
            ("strtol('abcd1234', 16)", 2882343476),
            ("strtol('1234567', 10)", 1234567),
            ("strtol('-ff', 16)", -255),
            ("strtol('110101', 2)", 53),
            ("strtol('fffffffffffffff', 16)", (1 << 60) - 1),
            ("strtol(NULL, 16)", None),
            ("len(to_varbyte('00ff10', 'hex'))", 3),
            ("from_varbyte(substring(to_varbyte('00ff10', 'hex'), 2, 5), 'hex')", "ff10"),
        ):
            assert await connection.fetchval(f"SELECT {expression}") == expected, expression
        with pytest.raises(asyncpg.PostgresError, match="not valid to be converted to base 2"):
            await connection.fetchval("SELECT strtol('12', 2)")
    finally:
        await connection.close()
