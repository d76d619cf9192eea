"""Is the key unique, and never NULL? Redshift enforces neither."""

from qupersync_extractor.interface.preflight.probes import Look, among
from qupersync_shared.runtime.plugins import CheckRow
from qupersync_shared.runtime.preflight.rows import ok, warning

_SUBJECT = "key"


async def key_row(look: Look) -> CheckRow:
    """The row `key`: keys that stand in more than one row, rows with NULL in the key."""
    if look.is_entity:
        return await _whole(look)
    pipeline = look.pipeline
    nulls = await look.probe.look_for_nulls(pipeline.relation, pipeline.key, look.bounds.rows_max)
    keys = await look.probe.look_at_key(pipeline.relation, look.schema.key_columns, look.bounds.rows_max)
    seen_nulls = among(nulls.rows, "", complete=nulls.complete)
    seen_keys = among(keys.rows, " in key order", complete=keys.complete)
    problems = [
        f"{count:,} rows with NULL in {name} {seen_nulls}: they stay out"
        for name, count in nulls.nulls.items()
        if count
    ]
    if keys.doubled:
        problems.append(f"{keys.doubled:,} keys stand in more than one row {seen_keys}: the last by cursor is taken")
    if problems:
        return _warned(look, problems)
    if keys.complete and nulls.complete:
        return ok(look.area, _SUBJECT, f"unique and never NULL {seen_keys}")
    return ok(look.area, _SUBJECT, f"no duplicate {seen_keys}, no NULL {seen_nulls}")


async def _whole(look: Look) -> CheckRow:
    """System views are small: all of what an entity stands on is counted, and the bound is time."""
    pipeline = look.pipeline
    nulls = {n: c for n, c in (await look.source.count_nulls(pipeline.relation, pipeline.key)).items() if c}
    doubled = await look.source.count_duplicate_keys(pipeline.relation, pipeline.key)
    problems = [f"{count:,} rows with NULL in {name} stay out" for name, count in nulls.items()]
    if doubled:
        problems.append(f"{doubled:,} keys stand in more than one row: the last by cursor is taken")
    return _warned(look, problems) if problems else ok(look.area, _SUBJECT, "unique and never NULL in all rows")


def _warned(look: Look, problems: list[str]) -> CheckRow:
    cure = "Choose a key that is unique and never NULL, or mend the rows at the source"
    return warning(look.area, _SUBJECT, "; ".join(problems), cure)
