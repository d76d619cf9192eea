"""The target's harness of the conformance suite, for what only PostgreSQL or real processes can show."""

import pytest
from tests.conformance.loader.conftest import postgres

__all__ = ["postgres"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration/loader" in item.path.as_posix():
            item.add_marker(pytest.mark.integration)
