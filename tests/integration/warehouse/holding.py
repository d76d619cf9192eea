"""Another process that has a DuckDB file open, for as long as a block lasts."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reading")
print("open", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def held(path: Path, how: str) -> AsyncIterator[None]:
    """The file is open for `reading` or `writing` in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _HOLD, str(path), how), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"open\n"
        yield
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
