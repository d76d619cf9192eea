"""What one process knows of target tables: which schemas they were seen to fit, for a minute."""

import time
from collections.abc import Callable
from typing import Final

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.statements import Statements
from qupersync_shared.contracts.schema import RowSchema

# Somebody may narrow a column under us, and PostgreSQL would round into it without a word.
FRESH_SECONDS: Final = 60.0
_TEXTS_MAX: Final = 256


class Knowledge:
    """Seen fittings and the generated statements, shared by all sessions of a process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._fitted: dict[tuple[TargetPipeline, str], float] = {}
        self._marked: dict[str, bool] = {}
        self._statements: dict[tuple[str, str, str, str, bool, tuple[str, ...]], Statements] = {}

    def statements(self, pipeline: TargetPipeline, schema: RowSchema, emptied: tuple[str, ...] = ()) -> Statements:
        """`emptied`: columns that rows of this schema have NULL in."""
        marks = self._marked.get(pipeline.target, False)
        key = (pipeline.schema, pipeline.table, schema.fingerprint, pipeline.deletes.value, marks, emptied)
        if key not in self._statements:
            if len(self._statements) >= _TEXTS_MAX:
                self._statements.clear()
            self._statements[key] = Statements(
                pipeline.schema, pipeline.table, schema, pipeline.deletes, marks, emptied
            )
        return self._statements[key]

    def fits(self, pipeline: TargetPipeline, schema: RowSchema) -> bool:
        seen = self._fitted.get((pipeline, schema.fingerprint))
        return seen is not None and self._monotonic() - seen < FRESH_SECONDS

    def saw_fit(self, pipeline: TargetPipeline, schema: RowSchema, *, marks: bool) -> None:
        """`marks`: the table has the column `_qs_deleted_at`, from whatever time."""
        self._marked[pipeline.target] = marks
        self._fitted[pipeline, schema.fingerprint] = self._monotonic()

    def forget(self, pipeline: TargetPipeline) -> None:
        """Whatever was known of the table no longer holds."""
        for key in [key for key in self._fitted if key[0].target == pipeline.target]:
            del self._fitted[key]
