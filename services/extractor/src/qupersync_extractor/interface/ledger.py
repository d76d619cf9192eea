"""The ledger for people: a sentence a pipeline, then the last pages."""

from datetime import datetime

from qupersync_extractor.application.ledger import LedgerEntry
from qupersync_extractor.domain.whereabouts import Whereabouts
from qupersync_extractor.interface.ledger_shown import COLUMNS, page_cells, page_shown, whereabouts_shown
from qupersync_extractor.interface.operating import known, with_stores
from qupersync_extractor.stores import Stores
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.console import console, print_json, print_plain, print_table
from qupersync_shared.runtime.records import Page, Query
from qupersync_shared.runtime.settings import Configuration


def show(settings: Configuration, query: Query, *, as_json: bool) -> None:
    """Prints where the pipeline of the query is, or all that are configured, and a page of the ledger."""
    named = query.filters.get("pipeline")
    names = (
        [known(settings, named)] if named is not None else [PipelineName(name) for name in sorted(settings.pipelines)]
    )

    async def both(kept: Stores) -> tuple[dict[PipelineName, Whereabouts], Page[LedgerEntry]]:
        return await kept.ledger.whereabouts(names), await kept.ledger.pages(query)

    found, page = with_stores(settings, both)
    if as_json:
        print_json(
            {
                "whereabouts": {name: whereabouts_shown(one) for name, one in found.items()},
                "pages": [page_shown(entry) for entry in page.items],
                "next_cursor": page.next_cursor,
            }
        )
        return
    out = console()
    if query.cursor is None:
        for name, one in found.items():
            print_plain(out, f"{name}: {one.sentence}", "" if one.in_sync else "yellow")
        print_plain(out, "")
    if not page.items:
        print_plain(out, "no such pages")
        return
    print_table(out, COLUMNS, [page_cells(entry) for entry in page.items])
    if page.next_cursor is not None:
        print_plain(out, f"more: the same{_filters(query)} --cursor {page.next_cursor}")


def _filters(query: Query) -> str:
    """The query's filters as options. A moment that was said as a duration is told as it was understood."""
    kept = {name: value for name, value in query.filters.items() if value is not None and name != "pipeline"}
    said = {name: each.isoformat() if isinstance(each, datetime) else str(each) for name, each in kept.items()}
    return "".join(f" --{name} {each}" for name, each in said.items())
