"""Writes the golden files of a NEW version of the wire format: `python -m tests.wire.regenerate`.

Not for mending a failing test: version 1 is frozen, and events of it stand in streams and outboxes for days. A change
that the golden files notice is a new version (another `ce-type`, another `EVENT_VERSION`); only then is there a
directory to write, and this script refuses to touch one that exists.
"""

import json
import sys

from tests.wire.cases import GOLDEN, cases


def main() -> int:
    if GOLDEN.exists():
        print(f"{GOLDEN} exists: a version of the wire format is never rewritten. Raise EVENT_VERSION first.")
        return 1
    GOLDEN.mkdir(parents=True)
    for case in cases():
        text = json.dumps(case.envelope.headers(), indent=2, ensure_ascii=True) + "\n"
        (GOLDEN / f"{case.name}.headers.json").write_text(text)
        (GOLDEN / f"{case.name}.body.arrows").write_bytes(case.body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
