"""Which adapter a configuration asks for."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from qupersync_extractor.infrastructure.sources import build_source
from qupersync_extractor.infrastructure.sources.catalogue import CatalogueSource
from qupersync_extractor.infrastructure.sources.duckdb import DuckDbSource
from qupersync_extractor.infrastructure.sources.redshift_connection import RedshiftOptions
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.settings.model import DuckDbSource as DuckDbSection
from qupersync_shared.runtime.settings.model import RedshiftSource as RedshiftSection

SECTION = RedshiftSection(kind="redshift", host="cluster", database="dev", user="sync")


async def test_the_password_is_required() -> None:
    with pytest.raises(ConfigurationError, match=r"source\.password is missing") as caught:
        build_source(SECTION, place="there.yaml")
    assert "set QUPERSYNC_SOURCE__PASSWORD" in str(caught.value)
    assert caught.value.place == "there.yaml"


async def test_a_source_is_built_without_connecting(tmp_path: Path) -> None:
    redshift = build_source(SECTION.model_copy(update={"password": SecretStr("secret")}))
    assert isinstance(redshift, CatalogueSource)
    await redshift.close()
    await redshift.close()
    duck = build_source(DuckDbSection(kind="duckdb", path=tmp_path / "absent.duckdb"))
    assert isinstance(duck, DuckDbSource)
    await duck.close()


def test_the_password_is_not_shown() -> None:
    options = RedshiftOptions(host="h", port=1, database="d", user="u", password="secret")
    assert "secret" not in repr(options)
