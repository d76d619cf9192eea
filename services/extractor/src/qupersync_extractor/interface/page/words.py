"""Numbers, moments and reasons as the page writes them: short, with their units, and a dash for what is not known."""

import re
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup, escape

from qupersync_shared.kernel.positions import decode_key
from qupersync_shared.runtime.console import bytes_shown

NOTHING: Final = "\N{EN DASH}"
_QUOTED: Final = re.compile(r"`([^`\n]{1,300})`")
_THOUSAND: Final = 1000
_MILLION: Final = 1_000_000
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_CURSOR_CHARACTERS: Final = 24


def span(seconds: float | None) -> str:
    """A duration: 0.4 s, 12 s, 3 min 20 s, 5 h 10 min, 2 d 4 h."""
    if seconds is None:
        return NOTHING
    if round(seconds, 1) < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    for size, name, part, part_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {name} {rest} {part_name}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def age(value: float | None) -> str:
    """An age in seconds, whatever its size: 0.4 s, 44 s, 1,260 s."""
    if value is None:
        return NOTHING
    return f"{value:.1f} s" if round(value, 1) < 1 else f"{round(value):,} s"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago, or how soon: `12 s ago`, `in 3 min`."""
    if moment is None:
        return NOTHING
    passed = (now - moment).total_seconds()
    return f"{span(passed)} ago" if passed >= 0 else f"in {span(-passed)}"


def due(moment: datetime | None, now: datetime) -> str:
    """When something is to happen: `in 3 min`, or `due now` where that was a moment ago."""
    if moment is None:
        return NOTHING
    return "due now" if moment <= now else ago(moment, now)


def key(encoded: str) -> str:
    """The values of an encoded key, for people; what is no such key, or cut, as it is."""
    try:
        return ", ".join(scalar.text for scalar in decode_key(encoded))
    except (ValueError, KeyError, TypeError):
        return encoded


def clock(moment: datetime | None, now: datetime | None = None) -> str:
    """A moment in UTC, without its date where that is today's: `23:48:09 UTC`."""
    if moment is None:
        return NOTHING
    there = moment.astimezone(UTC)
    today = now is not None and there.date() == now.astimezone(UTC).date()
    return f"{there:%H:%M:%S} UTC" if today else f"{there:%Y-%m-%d %H:%M:%S} UTC"


def number(value: float | None) -> str:
    """A count with its thousands apart: 1,234,567."""
    return NOTHING if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """A count in few characters: 950, 12.3 k, 4.5 M."""
    if value is None:
        return NOTHING
    if value < 10 * _THOUSAND:
        return f"{value:,.0f}"
    return f"{value / _THOUSAND:.1f} k" if value < _MILLION else f"{value / _MILLION:.1f} M"


def rate(per_second: float | None) -> str:
    """Rows in a second: 0, 0.3, 12, 4,310."""
    if per_second is None:
        return NOTHING
    if per_second == 0:
        return "0"
    return f"{per_second:.1f}" if per_second < 10 else f"{per_second:,.0f}"  # noqa: PLR2004


def size(count: int | None) -> str:
    """A size in bytes: 12 KiB, 1.5 GiB."""
    return NOTHING if count is None else bytes_shown(count)


def share(part: float, whole: float) -> str:
    """What part of the whole it is, in percent."""
    if whole <= 0:
        return NOTHING
    percent = 100 * part / whole
    return "under 1 %" if 0 < percent < 1 else f"{percent:.0f} %"


def told(text: str | None) -> Markup:
    """A reason with the commands in it set as code; everything else in it is escaped."""
    if not text:
        return Markup()
    return Markup(_QUOTED.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped just before


def counted(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun: 1 row, 2 rows, 1,204 rows."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def read_moment(text: object) -> datetime | None:
    """A moment of the status document; None for what is none."""
    if isinstance(text, datetime):
        return text if text.tzinfo is not None else text.replace(tzinfo=UTC)
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def seconds_exact(value: float | None) -> str:
    """A short duration with its milliseconds: 12 ms, 1.24 s."""
    if value is None:
        return NOTHING
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def short_moment(text: str, now: datetime) -> str:
    """A cursor value as the overview has room for it: a moment to the second, without its date where that is today's,
    anything else to 24 characters.
    """
    moment = read_moment(text) if ":" in text else None
    if moment is not None:
        return f"{moment:%H:%M:%S}" if moment.date() == now.astimezone(UTC).date() else f"{moment:%Y-%m-%d %H:%M:%S}"
    return text if len(text) <= _CURSOR_CHARACTERS else f"{text[: _CURSOR_CHARACTERS - 1]}…"
