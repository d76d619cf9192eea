"""What a process is called among its like."""

import os
import platform
from uuid import uuid4


def instance_name() -> str:
    """A name for this process that no other has and that fits into a KV key."""
    host = "".join(c if c.isalnum() else "-" for c in platform.node()) or "host"
    return f"{host}-{os.getpid()}-{uuid4().hex[:8]}"
