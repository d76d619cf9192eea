"""What is remembered of filled columns, as the pipeline's row has it: by name, the two places in one list."""

import json

from qupersync_loader.domain.filled import FilledColumn, FilledColumns


def encode_filled(filled: FilledColumns) -> str:
    """The same text for the same columns."""
    return json.dumps(
        {name: [*column.since, *(column.gone or ())] for name, column in sorted(filled.columns.items())},
        separators=(",", ":"),
    )


def decode_filled(text: str) -> FilledColumns:
    """From what `encode_filled` wrote."""
    columns: dict[str, list[int]] = json.loads(text)
    return FilledColumns(
        {
            name: FilledColumn(since=(places[0], places[1]), gone=(places[2], places[3]) if places[2:] else None)
            for name, places in columns.items()
        }
    )
