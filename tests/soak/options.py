"""What a run is like. A soak hurts a few brisk pipelines often; an unattended run leaves many ordinary ones alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEMORY_BYTES_MAX = 400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How often what happens, in seconds; pairs are bounds of a random choice."""

    change_pause: tuple[float, float]
    fault_pause: tuple[float, float]
    frozen: tuple[float, float]
    away: tuple[float, float]
    sample: float
    watch: float
    commit_within: float  # of a late transaction: inside the lookback, with room for a busy machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One run. The same `seed` makes the same choices, though not at the same moments."""

    minutes: float
    seed: int
    pipelines: int
    rows: int
    unattended: bool = False
    idle_seconds: float = 0.0
    writers: int = 2
    as_json: bool = False
    report: Path = Path("build/soak.md")
    spare_first: bool = False  # the first process of each role is frozen, never ended: its memory tells of leaks

    @property
    def seconds(self) -> float:
        return self.minutes * 60

    @property
    def title(self) -> str:
        return "unattended run" if self.unattended else "soak"

    @property
    def loaders(self) -> tuple[int, int]:
        """The fewest and the most loader processes at a time."""
        return (2, 2) if self.unattended else (1, 4)

    @property
    def snapshot_every_seconds(self) -> int:
        """How long a delete may take to travel."""
        return 180 if self.unattended else 30

    @property
    def pipeline_options(self) -> dict[str, Any]:
        """What every pipeline has besides its relation and key."""
        if self.unattended:  # the defaults, with a schedule and snapshots that fit into the run
            return {"schedule": {"every": "20s"}, "snapshot_every": f"{self.snapshot_every_seconds}s"}
        return {
            "schedule": "continuous",
            "safety_lag": "500ms",
            "lookback": "10s",
            "lanes": 3,
            "page_rows": 500,
            "snapshot_every": f"{self.snapshot_every_seconds}s",
        }

    @property
    def sections(self) -> dict[str, Any]:
        """Sections of the configuration besides addresses and pipelines."""
        if self.unattended:
            return {"extractor": {"runs_kept": "5m"}}
        return {"extractor": {"lease": "3s"}, "loader": {"ack_wait": "5s"}}

    @property
    def outbox(self) -> dict[str, Any]:
        """Compressed retention: in days nothing would be dropped before the end."""
        return {"retention": "2m" if self.unattended else "1m"}

    @property
    def stream_bytes_max(self) -> str:
        return "64MiB"

    @property
    def rhythm(self) -> Rhythm:
        if self.unattended:
            return Rhythm(
                change_pause=(0.0, 0.4),
                fault_pause=(5.0, 25.0),
                frozen=(5.0, 90.0),
                away=(0.0, 15.0),
                sample=5.0,
                watch=2.0,
                commit_within=120.0,
            )
        return Rhythm(
            change_pause=(0.0, 0.15),
            fault_pause=(0.5, 4.0),
            frozen=(1.0, 8.0),
            away=(0.0, 3.0),
            sample=2.0,
            watch=0.25,
            commit_within=6.0,
        )

    @property
    def converge_seconds(self) -> float:
        """How long everything may take to become equal after the last change, with nobody's help."""
        return 240.0 + 4 * self.snapshot_every_seconds
