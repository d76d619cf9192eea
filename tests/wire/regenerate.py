"""Writes the golden files of a NEW version of the wire format, or of new cases: `python -m tests.wire.regenerate`.

Not for mending a failing test: version 1 is frozen, and events of it stand in streams and outboxes for days. A change
that the golden files notice is a new version (another `ce-type`, another `EVENT_VERSION`). What may be added to a
version is an optional attribute that older loaders can do without, with a case of its own; a file that exists is never
written again.
"""

import json
import sys

from tests.wire.cases import GOLDEN, cases


def main() -> int:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    written = 0
    for case in cases():
        headers, body = GOLDEN / f"{case.name}.headers.json", GOLDEN / f"{case.name}.body.arrows"
        if headers.exists() or body.exists():
            continue
        text = json.dumps(case.envelope.headers(), indent=2, ensure_ascii=True) + "\n"
        headers.write_text(text)
        body.write_bytes(case.body)
        written += 1
    print(f"{written} cases written; those that stood are untouched")
    return 0


if __name__ == "__main__":
    sys.exit(main())
