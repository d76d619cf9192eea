"""How many rows to ask for, so that neither a page in memory nor an event on the wire outgrows its limit."""

from dataclasses import dataclass, replace

FIRST_ROWS = 5000
_EVENT_FILL = 0.8


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
        return max(1, min(self.rows_max, int(by_page), int(by_event)))

    def learn(self, *, rows: int, page_bytes: int, largest_event: int) -> "PageSizer":
        """The sizer after a page of `rows` rows; an empty page teaches nothing."""
        if rows == 0:
            return self
        return replace(self, bytes_per_row=page_bytes / rows, event_share=largest_event / rows)
