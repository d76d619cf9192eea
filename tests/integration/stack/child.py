"""Run as a script by the tests: start a stack, say where it is and which processes it has, wait to be ended."""

import asyncio
import json
import os
import sys
from pathlib import Path

from qupersync_local.stack import LocalStack, StackOptions


async def main(directory: Path | None) -> None:
    async with LocalStack.start(directory, options=StackOptions(fast=True)) as stack:
        pids = [stack.postgres.pid, stack.source.postgres.pid, stack.nats.pid]
        print(json.dumps({"uid": os.geteuid(), "pids": pids, **stack.describe()}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
