"""Sections about control: where HTTP is served and for whom, when the source may be read, and how much of it."""

import re
from datetime import time, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from qupersync_shared.contracts.subjects import check_name
from qupersync_shared.runtime.settings.units import Size

CONTROL_PORT: Final = 8700
PROBES_PORT: Final = 8701
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[Day, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")


class Section(BaseModel):
    """A part of the file: frozen, and without fields that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)


def check_zone(name: str) -> str:
    """The name of a time zone as it came; ValueError for what is none."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not a time zone: write for instance UTC or Europe/Berlin") from error
    return name


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class ListenSection(Section):
    """Where a process answers HTTP."""

    host: str = "127.0.0.1"
    port: int = Field(default=PROBES_PORT, ge=0, le=65535)


class TokenSection(Section):
    """Somebody who may use the control API: the secret stands in a file, which may be replaced while all runs."""

    name: Annotated[str, AfterValidator(check_name)]
    role: Literal["viewer", "operator"] = "viewer"
    file: Path


class ControlSection(ListenSection):
    """The control API and the status page. Without tokens it answers this machine alone, which may do everything."""

    port: int = Field(default=CONTROL_PORT, ge=0, le=65535)
    tokens: list[TokenSection] = Field(default_factory=list)

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if not self.tokens and not is_loopback(self.host):
            raise ValueError(
                "without tokens nobody but this machine may ask: write tokens, or host: 127.0.0.1 instead of "
                f"{self.host}"
            )
        names = [token.name for token in self.tokens]
        if len(set(names)) != len(names):
            raise ValueError("two tokens have the same name: the history says by it who did what")
        return self


class WindowSection(Section):
    """A maintenance window: from one time of the day to another, over midnight where `to` is not later than `from`."""

    from_: str = Field(alias="from")
    to: str
    days: list[Day] = Field(default=list(DAYS), min_length=1)
    time_zone: Annotated[str, AfterValidator(check_zone)] = "UTC"

    @model_validator(mode="after")
    def _times(self) -> Self:
        for text in (self.from_, self.to):
            if not _CLOCK.fullmatch(text):
                raise ValueError(f'{text!r} is not a time of the day: write it quoted, such as "02:30"')
        if self.from_ == self.to:
            raise ValueError("the window has no end: to is from")
        return self


class BudgetSection(Section):
    """What all extractors of one outbox together may take from the source; what is left out is not bounded."""

    reads: Annotated[int, Field(ge=1, le=1_000)] | None = None
    rows_per_minute: Annotated[int, Field(ge=1)] | None = None
    bytes_per_minute: Annotated[Size, Field(ge=1024)] | None = None


class SourceSection(Section):
    """What holds for every kind of source. During `maintenance` nothing is read from it."""

    budget: BudgetSection | None = None
    maintenance: list[WindowSection] = Field(default_factory=list)


JITTER_MAX: Final = timedelta(hours=1)


def clock_time(text: str) -> time:
    """A time of the day that `WindowSection` has checked; 24:00 is midnight."""
    hours, minutes = text.split(":")
    return time(int(hours) % 24, int(minutes))
