"""What one test gives up on must not end the process of the next."""

import pytest

from qupersync_shared.runtime.cli import guard


@pytest.fixture(autouse=True)
def _nothing_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_abandoned", False)
