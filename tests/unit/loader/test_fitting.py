"""Which target types hold which source types, and what widening would."""

import pytest

from qupersync_loader.application.fitting import Fits, Fitting, Refused, Widen, fit
from qupersync_shared.contracts.types import LogicalType


@pytest.mark.parametrize(
    ("target", "source", "expected"),
    [
        ("integer", "integer", Fits()),
        ("bigint", "smallint", Fits()),
        ("smallint", "bigint", Widen("bigint")),
        ("integer", "bigint", Widen("bigint")),
        ("numeric", "bigint", Fits()),
        ("numeric(19,0)", "bigint", Fits()),
        ("numeric(10,2)", "integer", Widen("numeric(12,2)")),
        ("double precision", "integer", Refused()),
        ("numeric(10,2)", "numeric(10,2)", Fits()),
        ("numeric(12,4)", "numeric(10,2)", Fits()),
        ("numeric(12,4)", "numeric(10,1)", Widen("numeric(13,4)")),
        ("numeric(10,2)", "numeric(10,4)", Widen("numeric(12,4)")),
        ("numeric(38,0)", "numeric(38,38)", Widen("numeric(76,38)")),
        ("bigint", "numeric(20,0)", Widen("numeric(20,0)")),
        ("integer", "numeric(6,2)", Widen("numeric(12,2)")),
        ("real", "double", Widen("double precision")),
        ("double precision", "real", Fits()),
        ("real", "integer", Refused()),
        ("text", "varchar", Fits()),
        ("character varying", "varchar", Fits()),
        ("character varying(20)", "varchar", Widen("text")),
        ("character(5)", "char", Widen("text")),
        ("integer", "varchar", Refused()),
        ("text", "integer", Refused()),
        ("json", "super", Refused()),
        ("jsonb", "super", Fits()),
        ("date", "timestamp", Refused()),
        ("timestamp without time zone", "timestamptz", Refused()),
        ("timestamp(3) without time zone", "timestamp", Refused()),
    ],
)
def test_fit(target: str, source: str, expected: Fitting) -> None:
    assert fit(target, LogicalType.parse(source)) == expected
