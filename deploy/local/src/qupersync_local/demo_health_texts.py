"""Statements that the programs of the health demo run again and again, and what all runs of each have in common."""

import hashlib
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A statement with `{n}` where its runs differ; `common` is written by hand, not made by any code."""

    kind: str
    template: str
    common: str

    def text(self, number: int) -> str:
        """The text of one run, as system views write it: line ends as two letters."""
        return self.template.replace("{n}", str(number)).replace("\n", "\\n")

    @property
    def hash(self) -> str:
        """MD5 of what the runs have in common."""
        return hashlib.md5(self.common.encode(), usedforsecurity=False).hexdigest()


_MANY: Final = ", ".join(f"{{n}}{number:03}" for number in range(900))  # longer than the 4,000 bytes of query_text

SHAPES: Final = (
    Shape(
        kind="SELECT",
        template="SELECT account_id, SUM(effective_cost)\n"
        "FROM billing.cost_usage\nWHERE usage_date >= '2026-01-01' AND id IN ({n}, 2,3)\nGROUP BY account_id",
        common="select account_id,sum(effective_cost)from billing.cost_usage where usage_date>=? and id in(?)"
        "group by account_id",
    ),
    Shape(
        kind="SELECT",
        template='/* dashboard {n} */ Select *  from "Odd Name" where id = {n};',
        common='select*from "Odd Name" where id=?',
    ),
    Shape(
        kind="INSERT",
        template="INSERT INTO ops.events VALUES ({n}, 'it''s'), ({n}, 'done') -- by the loader",
        common="insert into ops.events values(?)",
    ),
    Shape(
        kind="COPY",
        template="COPY ops.landing FROM 's3://bucket/{n}' IAM_ROLE 'arn:{n}' FORMAT PARQUET",
        common="copy ops.landing from ? iam_role ? format parquet",
    ),
    Shape(
        kind="DELETE",
        template=f"DELETE FROM ops.events WHERE id IN ({_MANY})",  # noqa: S608 - shown, never run
        common="delete from ops.events where id in(?)",
    ),
    Shape(
        kind="UPDATE",
        template=f"UPDATE ops.events SET note = '{'x' * 4_100}{{n}}' WHERE kind = 7",  # noqa: S608
        common="update ops.events set note=? where kind=?",
    ),
)
