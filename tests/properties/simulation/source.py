"""The warehouse: rows with cursors, late commits, deletes, and ties on the cursor that are bigger than a page."""

from random import Random

from tests.properties.simulation.events import Page, Row, number_of
from tests.properties.simulation.options import KEYS, LATE_TICKS, Options

from qupersync_extractor.domain.ordering import key_order, position_order, scalar_order
from qupersync_extractor.domain.timeline import TEMPORAL, Horizon, horizon
from qupersync_shared.kernel.positions import Key, Position, Scalar


class SimulatedSource:
    """Commits happen at a tick and are seen by every read after them. `history` remembers all of them."""

    def __init__(self, options: Options, random: Random) -> None:
        self._options = options
        self._random = random
        self.now = LATE_TICKS + 8
        self.rows: dict[int, Row] = {}
        self.history: dict[int, list[tuple[int, Row | None]]] = {number: [] for number in range(len(KEYS))}
        self.changed_at = 0
        self.looks = 0
        self._pending: dict[int, tuple[int, int, Row]] = {}
        self._written = 0
        for number in range(len(KEYS) // 2):
            self._commit(number, self._row(self.now - LATE_TICKS))

    # ------------------------------------------------------------------------------------------------- writing

    def write(self) -> str:
        """One transaction of a client: a write, a late one, a delete, or one that touches many rows at once."""
        free = [number for number in range(len(KEYS)) if number not in self._pending]
        number = self._random.choice(free)
        chance = self._random.random()
        if chance < 0.2 and number in self.rows:
            self._commit(number, None)
            return f"source deletes {number}"
        if chance < 0.45 and not self._options.punctual and len(free) > 2:
            row, due = self._row(self.now), self.now + self._random.randint(1, LATE_TICKS)
            self._pending[number] = (self.now, due, row)
            return f"source begins {number}={row.version} at {self.now}, commits at {due}"
        if chance < 0.6:
            row = self._row(self.now)
            touched = self._random.sample(free, min(len(free), 2 * self._options.page_rows + 1))
            for one in touched:
                self._commit(one, self._row(self.now) if self._options.punctual else Row(self._next(), row.cursor))
            return f"source writes {touched} at once"
        row = self._row(self.now)
        self._commit(number, row)
        return f"source writes {number}={row.version}"

    def tick(self) -> None:
        """A moment passes; transactions that are due commit."""
        self.now += 1
        for number, (_, due, row) in list(self._pending.items()):
            if due <= self.now:
                del self._pending[number]
                self._commit(number, row)

    @property
    def quiet(self) -> bool:
        return not self._pending

    def _commit(self, number: int, row: Row | None) -> None:
        if row is None:
            self.rows.pop(number, None)
        else:
            self.rows[number] = row
        self.history[number].append((self.now, row))
        self.changed_at = self.now

    def _next(self) -> int:
        self._written += 1
        return self._written

    def _row(self, tick: int) -> Row:
        number = self._next()
        return Row(number, self._options.cursor_value(tick, number))

    # ------------------------------------------------------------------------------------------------- reading

    def horizon(self, *, time_zone: str) -> tuple[Horizon, int] | None:
        """How far a run that begins now may read, and the tick that its high stands for."""
        options = self._options
        now = options.moment(self.now)
        if options.kind not in TEMPORAL:
            cursors = [row.cursor for row in self.rows.values()]
            if not cursors:
                return None
            return Horizon(high=max(cursors, key=scalar_order), began_at=now), self.now
        oldest = None
        if options.oldest_open_visible and self._pending:
            oldest = min(began for began, _, _ in self._pending.values())
        found = horizon(
            options.kind,
            now=now,
            oldest_open=None if oldest is None else options.moment(oldest),
            safety_lag=options.pipeline(1).safety_lag,
            time_zone=time_zone,
        )
        return found, min(self.now, self.now if oldest is None else oldest) - options.lag

    def read_after(self, after: Position | None, upto: Scalar) -> Page:
        """The next page of (after, upto] in the order of (cursor, key)."""
        found = []
        limit = scalar_order(upto)
        low = None if after is None else position_order(after)
        for number, row in self.rows.items():
            order = position_order(Position(cursor=row.cursor, key=KEYS[number]))
            if order[0] <= limit and (low is None or order > low):
                found.append((order, number, row))
        found.sort(key=lambda entry: entry[0])
        taken = found[: self._options.page_rows]
        last = taken[-1] if taken else None
        return Page(
            rows={number: row for _, number, row in taken},
            last=len(found) <= self._options.page_rows,
            look=self._look(),
            upto_position=None if last is None else Position(cursor=last[2].cursor, key=KEYS[last[1]]),
        )

    def read_keys(self, after: Key | None) -> Page:
        """The next page in key order."""
        low = None if after is None else key_order(after)
        found = sorted(number for number in self.rows if low is None or key_order(KEYS[number]) > low)
        taken = found[: self._options.page_rows]
        last = len(found) <= self._options.page_rows
        return Page(
            rows={number: self.rows[number] for number in taken},
            last=last,
            look=self._look(),
            upto_key=None if last else KEYS[taken[-1]],
        )

    def _look(self) -> int:
        self.looks += 1
        return self.looks

    # ----------------------------------------------------------------------------------------------- the referee

    def row_before(self, number: int, tick: int) -> Row | None:
        """The row as it was just before this tick: commits of the tick itself may come after any read in it."""
        found = None
        for at, row in self.history[number]:
            if at >= tick:
                break
            found = row
        return found

    def absent_since(self, number: int, tick: int) -> bool:
        """Whether the key has not been there from this tick on."""
        return self.row_before(number, tick) is None and all(
            row is None for at, row in self.history[number] if at >= tick
        )


def within(number: int, after: Key | None, upto: Key | None) -> bool:
    """Whether a key lies in (after, upto]; None is infinity."""
    return (after is None or number > number_of(after)) and (upto is None or number <= number_of(upto))
