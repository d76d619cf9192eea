"""Pages take the fast way from wire to Arrow; only what it cannot hold is left to the driver's own values."""

from collections.abc import Callable
from typing import Any

import pytest

from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.domain.pipeline import SourceQuery
from qupersync_extractor.infrastructure.sources import redshift_connection
from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource
from qupersync_shared.contracts.schema import RowSchema

pytestmark = pytest.mark.integration
EVERY_TYPE = SourceQuery(
    "SELECT 1::bigint AS id, 2::smallint AS s, 3::int AS i, 1.5::real AS r, 'NaN'::double precision AS d, true AS b, "
    "'é'::varchar(10) AS v, 'ab'::char(5) AS c, 1.25::numeric(18,4) AS n, (-1.5)::numeric(38,30) AS w, "
    "date '2024-02-29' AS day, timestamp '2024-02-29 01:02:03.000004' AS t, "
    "timestamptz '2024-02-29 01:02:03+02' AS z, time '23:59:59.999999' AS clock, NULL::varchar(3) AS nothing"
)


async def test_every_type_is_decoded_a_column_at_a_time(
    make_source: Callable[..., RedshiftSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*_: Any) -> None:
        raise AssertionError("the slow way was taken")

    source = make_source()
    schema = RowSchema(columns=await source.describe(EVERY_TYPE), key=("id",))
    request = ReadRequest(relation=EVERY_TYPE, schema=schema, range=KeyRange(after=None), limit=10)
    expected = await source.read(request)
    monkeypatch.setattr(redshift_connection, "to_batch", slowly)

    found = await source.read(request)

    assert found.num_rows == 1
    assert repr(found.to_pylist()) == repr(expected.to_pylist())
    assert found.column("v").to_pylist() == ["é"]
    assert found.column("c").to_pylist() == ["ab"]
    assert found.column("nothing").null_count == 1
