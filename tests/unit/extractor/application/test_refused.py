"""Rows that hold what no event can carry: found one by one, and told without what they hold."""

import pyarrow as pa

from qupersync_extractor.application.refused import Refusals, without_refusals
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import Kind, LogicalType

SCHEMA = RowSchema(columns=(Column("id", LogicalType(Kind.BIGINT)), Column("at", LogicalType(Kind.TIME))), key=("id",))


def test_a_reason_names_the_column_and_not_the_value() -> None:
    refusals = Refusals(SCHEMA, 3)

    def convert(start: int, end: int) -> pa.Array:
        if start <= 1 < end:
            raise ValueError("'24:00:00' is 86400000000 microseconds, and \"a day\" has fewer")
        return pa.array(range(start, end), pa.time64("us"))

    batch = refusals.batch([pa.array([1, 2, 3]), refusals.column(SCHEMA.column("at"), convert)])
    rows, reasons = without_refusals(batch)
    assert rows.column(1).null_count == 1
    assert reasons is not None
    assert reasons.to_pylist() == [
        None,
        "column 'at' holds what time cannot carry: … is … microseconds, and … has fewer",
        None,
    ]
