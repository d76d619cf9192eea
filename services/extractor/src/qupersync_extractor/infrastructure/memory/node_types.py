"""A node type that was told beforehand."""


class FixedNodeTypes:
    """Always this answer."""

    def __init__(self, node_type: str | None = None) -> None:
        self._node_type = node_type

    async def node_type(self) -> str | None:
        return self._node_type
