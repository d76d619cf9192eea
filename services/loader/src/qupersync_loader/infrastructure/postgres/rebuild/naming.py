"""Names that rebuilds give: none of them can be chosen by people, and all of them can be found again."""

import hashlib
from dataclasses import replace
from typing import Final

from qupersync_loader.domain.pipeline import SchemaPolicy, TargetPipeline
from qupersync_shared.contracts.schema import IDENTIFIER_BYTES_MAX
from qupersync_shared.kernel.ids import GroupName

# No loader group can be named so: `~` is in no name that a configuration may hold. The view `qupersync_state` leaves
# every group with it out.
_SUFFIX: Final = "~rebuild"
_DIGEST_BYTES: Final = 6


def shadow_of(pipeline: TargetPipeline) -> TargetPipeline:
    """The shadow as a pipeline of its own. It may always be made to fit: what stands beside nobody is asked for."""
    return replace(
        pipeline,
        group=shadow_group(pipeline.group),
        table=_cut(f"_qs_shadow_{_digest(pipeline)}_{pipeline.table}"),
        schema_policy=SchemaPolicy.EVOLVE,
    )


def shadow_group(group: GroupName) -> GroupName:
    """The loader group of the shadows of a group's tables."""
    return GroupName(group + _SUFFIX)


def old_table(pipeline: TargetPipeline) -> str:
    """What the live table is called for the moments between its renaming and its end."""
    return _cut(f"_qs_old_{_digest(pipeline)}_{pipeline.table}")


def part_name(shadow: TargetPipeline, kind: str, live_name: str) -> str:
    """What an index, statistics object or sequence of the live table is called on the shadow until the swap."""
    text = f"{shadow.group}\0{shadow.schema}\0{shadow.table}\0{kind}\0{live_name}"
    return "_qs_part_" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def claim_key(pipeline: TargetPipeline) -> int:
    """The advisory lock of the only rebuild of a pipeline."""
    return claim_key_of(pipeline.group, pipeline.name)


def claim_key_of(group: str, pipeline: str) -> int:
    """The same lock, by the names of loader group and pipeline."""
    text = f"qupersync:rebuild:{group}:{pipeline}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def _digest(pipeline: TargetPipeline) -> str:
    text = f"{pipeline.group}\0{pipeline.name}\0{pipeline.schema}\0{pipeline.table}"
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _cut(name: str) -> str:
    return name.encode()[:IDENTIFIER_BYTES_MAX].decode(errors="ignore")
