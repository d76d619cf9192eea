from collections.abc import Callable
from pathlib import Path

import pytest

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.settings import Configuration, load

VALID = """\
source: {kind: redshift, host: warehouse.example.com, database: dev, user: sync}
outbox: {dsn: "postgresql://localhost/qupersync"}
nats: {servers: ["nats://localhost:4222"]}
target: {dsn: "postgresql://localhost/app"}
pipelines:
  cost_usage:
    from: billing.cost_usage
    into: public.cost_usage
    key: [id]
"""


@pytest.fixture
def valid() -> str:
    return VALID


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Configuration]:
    """Loads text as qupersync.yaml, under nothing but the given environment."""

    def make(text: str, **environ: str) -> Configuration:
        path = tmp_path / "qupersync.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path, environ)

    return make


@pytest.fixture
def refused(loaded: Callable[..., Configuration], tmp_path: Path) -> Callable[..., ConfigurationError]:
    """The error for a text, its place shortened to file:line."""

    def make(text: str, **environ: str) -> ConfigurationError:
        with pytest.raises(ConfigurationError) as caught:
            loaded(text, **environ)
        caught.value.place = caught.value.place.replace(f"{tmp_path}/", "")
        return caught.value

    return make
