"""What kind of nodes the source's cluster has: no system view says it."""

from typing import Protocol


class NodeTypes(Protocol):
    """The node type of the source's cluster."""

    async def node_type(self) -> str | None:
        """For instance `ra3.4xlarge`; None where nobody has told it. Never raises, and asks outside seldom."""
        ...
