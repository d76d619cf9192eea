"""Ready-made pipelines: what `include` and `entity` stand for. A pipeline's own keys override theirs one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One ready-made pipeline: the kind of source it needs, and the keys of a pipeline section it begins with.

    `view` says that its rows are put together from system views; else `from` in `keys` is an ordinary table.
    """

    source: str | None
    keys: Mapping[str, Any] = field(default_factory=dict)
    view: bool = False


# System views keep about seven days; what they forget stays in the target. Records of one minute may appear in them
# minutes later, and out of order: hence the lookback.
_FORGETFUL: Final = {"deletes": "keep", "lookback": "1h", "lanes": 1}
_STATE: Final = {"snapshot_every": "15m", "lanes": 1}

ENTITIES: Final[Mapping[str, Entity]] = {
    "table_stats": Entity(source="redshift", view=True, keys={"key": ["table_id"], **_STATE}),
    "node_details": Entity(source="redshift", view=True, keys={"key": ["node_id"], **_STATE}),
    "query_history": Entity(
        source="redshift",
        view=True,
        # Each row is read with up to 4 kB of query text, of which only a hash goes on. No snapshot but the first: what
        # belongs to a query may be forgotten before the query is, and a later look would know less.
        keys={"key": ["query_id"], "cursor": "end_time", "page_rows": 10_000, "snapshot_every": None, **_FORGETFUL},
    ),
    "vacuum_history": Entity(
        source="redshift",
        view=True,
        keys={"key": ["transaction_id", "table_id", "start_time"], "cursor": "record_time", **_FORGETFUL},
    ),
    "serverless_usage": Entity(
        source="redshift", view=True, keys={"key": ["start_time"], "cursor": "start_time", **_FORGETFUL}
    ),
    "cost_usage": Entity(source=None, keys={"from": "billing.cost_usage", "key": ["id"], "cursor": "updated_at"}),
    "customers": Entity(source="duckdb", keys={"from": "raw.customers", "key": ["customer_id"], **_STATE}),
    "usage_events": Entity(
        source="duckdb", keys={"from": "raw.usage_events", "key": ["event_id"], "cursor": "timestamp"}
    ),
}
SETS: Final[Mapping[str, Sequence[str]]] = {
    "redshift_health": ("table_stats", "query_history", "vacuum_history", "node_details"),
    "warehouse": ("customers", "usage_events"),
}
_RELATIONS: Final = frozenset({"from", "query"})


def include(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with the pipelines that its `include` names; ValueError for an unknown name.

    What stands under `pipelines` with the same name overrides the ready-made keys one by one.
    """
    named = tree.get("include") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return dict(tree)  # the model says what is wrong with it
    sections = tree.get("pipelines") or {}
    if not isinstance(sections, dict):
        return dict(tree)
    pipelines = dict(sections)
    for name in named:
        if name not in SETS and name not in ENTITIES:
            raise ValueError(
                f"there is nothing ready-made named {name!r}: write some of {', '.join([*SETS, *ENTITIES])}"
            )
        for entity in SETS.get(name, (name,)):
            written = pipelines.get(entity) or {}
            if isinstance(written, dict):
                pipelines[entity] = {"entity": entity, **written}
    return {**tree, "pipelines": pipelines}


def complete(section: Mapping[str, Any]) -> dict[str, Any]:
    """A pipeline section with the keys that its `entity` begins with; ValueError for an unknown entity."""
    name = section.get("entity")
    if not isinstance(name, str):
        return dict(section)
    entity = ENTITIES.get(name)
    if entity is None:
        raise ValueError(f"entity {name!r} is unknown: write one of {', '.join(ENTITIES)}")
    keys = {"into": f"public.{name}", **entity.keys}
    if _RELATIONS & section.keys():
        keys.pop("from", None)
    return {**keys, **section}
