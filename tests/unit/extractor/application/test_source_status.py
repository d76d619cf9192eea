"""How the source budget and the maintenance windows are shown."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from qupersync_extractor.application.source_use import ListedRead, SourceStanding
from qupersync_extractor.domain.maintenance import Window, Windows
from qupersync_extractor.domain.source_budget import Amount, MinuteUse, SourceLimits
from qupersync_extractor.interface.source_status import budget_shown, maintenance_shown
from qupersync_shared.kernel.ids import PipelineName, uuid7

NOW = datetime(2026, 1, 5, 12, 0, 30, tzinfo=UTC)
NIGHTLY = Windows((Window(begins=time(23), ends=time(3, 30), zone=ZoneInfo("Europe/Berlin")),))


def listed(pipeline: str, *, began: bool) -> ListedRead:
    return ListedRead(
        id=uuid7(),
        pipeline=PipelineName(pipeline),
        owner="host-1",
        asked_at=NOW - timedelta(seconds=9),
        began_at=NOW - timedelta(seconds=4) if began else None,
        expected=Amount(rows=100),
    )


def test_the_budget_says_who_reads_who_waits_and_what_is_taken() -> None:
    limits = SourceLimits(reads=2, rows_per_minute=5000, bytes_per_minute=1 << 20)
    minute = MinuteUse(
        minute=NOW.replace(second=0), used=Amount(rows=400, bytes=2048), carried=Amount(rows=100, bytes=1024)
    )
    reads = (listed("orders", began=True), listed("cost", began=False))
    shown = budget_shown(limits, SourceStanding(now=NOW, minute=minute, reads=reads))
    assert shown == {
        "limits": {"reads": 2, "rows_per_minute": 5000, "bytes_per_minute": 1 << 20},
        "minute": "2026-01-05T12:00:00.000+00:00",
        "used": {"rows": 500, "bytes": 3072},
        "carried": {"rows": 100, "bytes": 1024},
        "held_up_by": None,
        "reading": [{"pipeline": "orders", "owner": "host-1", "since": "2026-01-05T12:00:26.000+00:00"}],
        "waiting": [{"pipeline": "cost", "owner": "host-1", "since": "2026-01-05T12:00:21.000+00:00"}],
        "summary": "source budget: 1 of 2 reads under way, 1 waiting, 500 of 5000 rows this minute, 3 KiB of 1 MiB "
        "this minute",
    }


def test_a_budget_whose_database_does_not_answer_is_not_known() -> None:
    shown = budget_shown(SourceLimits(reads=1), None)
    assert shown["limits"]["reads"] == 1
    assert (shown["used"], shown["reading"], shown["waiting"]) == (None, None, None)
    assert "not known" in shown["summary"]


def test_maintenance_says_until_when_and_from_when() -> None:
    assert maintenance_shown(NIGHTLY, NOW) == {
        "now": False,
        "ends_at": None,
        "next_from": "2026-01-05T22:00:00.000+00:00",
        "summary": "maintenance from 2026-01-05 22:00 UTC",
    }
    assert maintenance_shown(NIGHTLY, NOW + timedelta(hours=12)) == {
        "now": True,
        "ends_at": "2026-01-06T02:30:00.000+00:00",
        "next_from": "2026-01-06T22:00:00.000+00:00",
        "summary": "maintenance until 03:30 Europe/Berlin: nothing is read from the source",
    }
