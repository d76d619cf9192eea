"""Tables on terminals: short cells are never broken in two, whatever the width."""

import io

import pytest

from qupersync_shared.runtime.console import _Console, print_table

COLUMNS = ("pipeline", "mode", "error")
ROWS = [("query_history", "incremental", "a sentence that has many words and may well stand in several lines")]


def printed(width: int) -> str:
    out = _Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width, highlight=False)
    print_table(out, COLUMNS, ROWS)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize("width", [20, 60, 200])
def test_short_cells_stay_whole(width: int) -> None:
    shown = printed(width)
    assert "query_history" in shown
    assert "incremental" in shown


def test_long_cells_fold_where_the_table_has_room_for_the_rest() -> None:
    assert "─" in printed(60), "a table"
    assert ROWS[0][-1] not in printed(60)


def test_what_has_no_room_as_a_table_is_a_line_a_row() -> None:
    shown = printed(20)
    assert "─" not in shown
    assert len(shown.splitlines()) == 1 + len(ROWS)
