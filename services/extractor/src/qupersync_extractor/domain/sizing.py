"""How many rows to ask for, so that neither a page in memory nor an event on the wire outgrows its limit."""

from dataclasses import dataclass, replace

FIRST_ROWS = 5000
_FIRST_ROW_BYTES = 2000  # a guess, before the first page has taught better
_EVENT_FILL = 0.8


def _rounded(rows: int) -> int:
    """Down to one of eight steps an octave: limits stand in statement texts, which drivers and servers cache."""
    shift = max(0, rows.bit_length() - 4)
    return (rows >> shift) << shift


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSizer:
    """Limits, and what the last page taught. Rows are asked for so that pages stay under both limits."""

    rows_max: int
    page_bytes_max: int
    event_bytes_max: int
    bytes_per_row: float | None = None
    event_share: float = 0.0

    @property
    def rows(self) -> int:
        """Rows to ask for next; at least 1."""
        if self.bytes_per_row is None:
            return min(self.rows_max, FIRST_ROWS)
        by_page = self.page_bytes_max / max(self.bytes_per_row, 1.0)
        by_event = self.event_bytes_max * _EVENT_FILL / self.event_share if self.event_share else self.rows_max
        fitting = min(int(by_page), int(by_event))
        return self.rows_max if fitting >= self.rows_max else max(1, _rounded(fitting))

    @property
    def expected_bytes(self) -> int:
        """What the next page will take in memory."""
        return min(self.page_bytes_max, round(self.rows * (self.bytes_per_row or _FIRST_ROW_BYTES)))

    def learn(self, *, rows: int, page_bytes: int, largest_event: int) -> "PageSizer":
        """The sizer after a page of `rows` rows; an empty page teaches nothing."""
        if rows == 0:
            return self
        return replace(self, bytes_per_row=page_bytes / rows, event_share=largest_event / rows)
