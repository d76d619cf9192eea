"""Comparisons of source and target in words: for people, for scripts, and for the status."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from qupersync_extractor.application.verifying.records import Verification
from qupersync_shared.kernel.ids import GroupName, PipelineName
from qupersync_shared.kernel.positions import encode_key
from qupersync_shared.runtime.console import bytes_shown

if TYPE_CHECKING:
    from qupersync_extractor.application.verifying.looking import Difference
    from qupersync_extractor.application.verifying.verify import Outcome

KEYS_SHOWN: Final = 100
KEYS_TOLD: Final = 10_000


def drift_reason(one: Verification) -> str | None:
    """What makes the pipeline degraded until a later comparison finds no difference; None if nothing does."""
    if not one.counts.differing:
        return None
    return (
        f"{one.counts.differing} keys of the target differ from the source, as of {one.started_at:%Y-%m-%d %H:%M} UTC: "
        f"`qupersync verify {one.pipeline} --group {one.group} --repair`"
    )


def verifications_shown(verifications: Sequence[Verification]) -> dict[str, dict[str, Any]]:
    """By loader group, for the status document, which leaves out groups that have gone."""
    return {
        str(one.group): {
            "started_at": one.started_at.isoformat(),
            "ended_at": one.ended_at.isoformat() if one.ended_at is not None else None,
            "source_rows": one.counts.source_rows,
            "target_rows": one.counts.target_rows,
            "differing": one.counts.differing,
            "in_motion": one.counts.in_motion,
            "repaired": one.counts.repaired,
            "reason": drift_reason(one),
        }
        for one in verifications
    }


def document(pipeline: PipelineName, group: GroupName, outcome: "Outcome", *, seconds: float) -> dict[str, Any]:
    """The outcome for scripts."""
    counts = outcome.counts()
    return {
        "pipeline": str(pipeline),
        "group": str(group),
        "equal": outcome.equal,
        "source_rows": counts.source_rows,
        "target_rows": counts.target_rows,
        "ranges": counts.ranges,
        "bytes_moved": counts.bytes_moved,
        "seconds": round(seconds, 3),
        "differing": len(outcome.drift),
        "leaving": outcome.leaving,
        "repaired": counts.repaired,
        "in_motion": outcome.decided.in_motion,
        "undecided": outcome.decided.undecided,
        "known": outcome.decided.known,
        "more": outcome.cut,
        "presence_only": list(outcome.unseen),
        "reason": outcome.decided.waiting_for or outcome.refused,
        "differences": [
            {"key": encode_key(one.key), "kind": one.kind.value, "columns": list(one.columns)}
            for one in outcome.drift[:KEYS_TOLD]
        ],
    }


def lines(pipeline: PipelineName, group: GroupName, outcome: "Outcome", *, seconds: float) -> list[str]:
    """The outcome for people."""
    counts = outcome.counts()
    ranges = "1 range" if counts.ranges == 1 else f"{counts.ranges:,} ranges"
    compared = (
        f"{pipeline}, group {group}: {counts.source_rows:,} rows at the source and {counts.target_rows:,} in the "
        f"target, in {ranges}; {bytes_shown(counts.bytes_moved)} moved in {seconds:.1f} s"
    )
    told = [compared]
    told += [f"  {_difference(one)}" for one in outcome.drift[:KEYS_SHOWN]]
    if len(outcome.drift) > KEYS_SHOWN:
        told.append(f"  … and {len(outcome.drift) - KEYS_SHOWN} others (--json tells all)")
    told += _besides(pipeline, outcome)
    told.append(_verdict(outcome))
    return told


def _besides(pipeline: PipelineName, outcome: "Outcome") -> list[str]:
    decided = outcome.decided
    told = []
    if outcome.repaired:
        told.append(f"repaired: {outcome.repaired} keys")
    if outcome.refused:
        told.append(f"not all could be read again: {outcome.refused}")
    if decided.known:
        told.append(f"known: {decided.known} keys wait in quarantine (`qupersync quarantine list -p {pipeline}`)")
    if decided.in_motion:
        told.append(f"in motion: {decided.in_motion} keys changed whenever they were looked at")
    if decided.undecided:
        told.append(f"undecided: {decided.undecided} keys differ, and {decided.waiting_for}")
    if outcome.leaving:
        told.append(
            f"leaving: {outcome.leaving} keys are only in the target: what the source has deleted leaves with the next "
            "snapshot (`--repair` removes it now)"
        )
    if outcome.cut:
        told.append(
            f"more may differ: only the first keys were looked into; `qupersync trigger {pipeline} --mode snapshot` "
            "reads the whole source"
        )
    if outcome.unseen:
        told.append(
            f"of {', '.join(outcome.unseen)} only NULL and not NULL were compared, but for rows that differ otherwise"
        )
    return told


def _verdict(outcome: "Outcome") -> str:
    if outcome.equal:
        return "equal" if not outcome.repaired else "equal now"
    kinds = Counter(one.kind for one in outcome.drift)
    listed = ", ".join(f"{count} {kind.value}" for kind, count in sorted(kinds.items()))
    return f"{len(outcome.drift)} keys differ{': ' + listed if listed else ''}"


def _difference(one: "Difference") -> str:
    key = ", ".join(_printable(scalar.text) for scalar in one.key)
    return f"({key}) {one.kind.value}{': ' + ', '.join(one.columns) if one.columns else ''}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:100])
