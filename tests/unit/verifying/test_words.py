"""What a comparison says to people and scripts, and what of it makes a pipeline degraded."""

from datetime import UTC, datetime

import pytest
from tests.unit.verifying.rig import key

from qupersync_extractor.application.verifying.looking import Difference, Kind
from qupersync_extractor.application.verifying.records import Verification, VerificationCounts
from qupersync_extractor.application.verifying.verify import Outcome
from qupersync_extractor.interface.schedules import check_schedules
from qupersync_extractor.interface.verification_words import KEYS_SHOWN, document, drift_reason, lines
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.ids import GroupName, PipelineName, uuid7
from qupersync_shared.runtime.settings import Configuration

PIPELINE, GROUP = PipelineName("people"), GroupName("main")


def told(differing: int) -> Verification:
    return Verification(
        id=uuid7(),
        pipeline=PIPELINE,
        group=GROUP,
        cause="schedule",
        started_at=datetime(2024, 5, 1, 12, tzinfo=UTC),
        counts=VerificationCounts(differing=differing),
        ended_at=datetime(2024, 5, 1, 13, tzinfo=UTC),
    )


def test_drift_has_a_reason_with_its_cure_and_none_has_none() -> None:
    assert drift_reason(told(0)) is None
    reason = drift_reason(told(3))
    assert reason is not None
    assert "3 keys of the target differ from the source, as of 2024-05-01 12:00 UTC" in reason
    assert "`qupersync verify people --group main --repair`" in reason


def test_equal_tables_take_one_line_and_a_verdict() -> None:
    assert lines(PIPELINE, GROUP, Outcome(), seconds=1.0)[-1] == "equal"
    assert document(PIPELINE, GROUP, Outcome(), seconds=1.0)["equal"] is True


def test_many_differences_are_cut_for_people_and_whole_for_scripts() -> None:
    outcome = Outcome(unseen=("tags",), refused="the source is away")
    outcome.decided.drift = [
        Difference(key=key(number), kind=Kind.DIFFERENT, columns=("name",)) for number in range(KEYS_SHOWN + 5)
    ]
    outcome.decided.known = outcome.decided.in_motion = outcome.decided.undecided = 1
    outcome.narrowed.cut = True
    shown = lines(PIPELINE, GROUP, outcome, seconds=1.0)
    assert sum(line.startswith("  (") for line in shown) == KEYS_SHOWN
    text = "\n".join(shown)
    for part in ("and 5 others", "known: 1", "in motion: 1", "undecided: 1", "more may differ", "of tags only NULL"):
        assert part in text
    assert shown[-1] == f"{KEYS_SHOWN + 5} keys differ: {KEYS_SHOWN + 5} different"
    assert len(document(PIPELINE, GROUP, outcome, seconds=1.0)["differences"]) == KEYS_SHOWN + 5


@pytest.mark.parametrize(("snapshots", "lasting"), [(True, 1), (False, 3)])
def test_what_leaves_with_the_next_snapshot_makes_nothing_degraded(snapshots: bool, lasting: int) -> None:
    """Rows that the source has deleted since the last one stay in the target until then, and differ meanwhile."""
    outcome = Outcome(snapshots=snapshots)
    outcome.decided.drift = [
        Difference(key=key(1), kind=Kind.DIFFERENT, columns=("name",)),
        *(Difference(key=key(number), kind=Kind.EXTRA) for number in (2, 3)),
    ]
    assert outcome.counts().differing == lasting
    assert len(outcome.counts().keys) == lasting
    assert ("leaving: 2 keys" in "\n".join(lines(PIPELINE, GROUP, outcome, seconds=1.0))) is snapshots
    shown = document(PIPELINE, GROUP, outcome, seconds=1.0)
    assert (shown["differing"], shown["leaving"], shown["equal"]) == (3, 2 if snapshots else 0, False)


def configured(**pipeline: object) -> Configuration:
    section = {"into": "public.people", **pipeline}
    return Configuration.model_validate({"pipelines": {"people": section}})


def test_a_schedule_that_nobody_can_follow_is_refused() -> None:
    plain = {"from": "main.people", "key": ["id"]}
    check_schedules(configured(**plain, verify={"every": "24h"}))
    check_schedules(configured(**plain, verify={"cron": "0 3 * * *"}))
    with pytest.raises(ConfigurationError, match=r"people\.verify\.cron"):
        check_schedules(configured(**plain, verify={"cron": "every night"}))


def test_what_is_put_together_from_system_views_cannot_be_compared() -> None:
    with pytest.raises(ConfigurationError, match="system views, which change from read to read"):
        check_schedules(configured(entity="table_stats", verify={"every": "24h"}))
