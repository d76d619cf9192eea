"""Which pipelines the demo runs, and what is compared with what at the end."""

from typing import Any

from qupersync_local.demo_data import COST_USAGE, QUERY_HISTORY

_LIVE: dict[str, Any] = {"schedule": "continuous", "safety_lag": "1s", "lookback": "6s", "lanes": 4}


def redshift_pipelines() -> dict[str, dict[str, Any]]:
    """Pipelines over the tables of the stand-in."""
    return {
        "cost_usage": {
            "from": COST_USAGE,
            "into": "public.cost_usage",
            "key": ["id"],
            "cursor": "updated_at",
            **_LIVE,
        },
        "query_history": {
            "from": QUERY_HISTORY,
            "into": "public.query_history",
            "key": ["query_id"],
            "cursor": "end_time",
            **_LIVE,
        },
    }


def query_rows(rows: int) -> int:
    """How many queries go with `rows` lines of a bill."""
    return max(100, rows // 20)
