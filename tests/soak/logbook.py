"""What the processes logged that no fault explains: tracebacks are defects, whatever was caught afterwards."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

_SHOWN_MAX = 10
# asyncpg leaves this future behind when the server is killed while it is asked whether it speaks TLS.
_EXPLAINED = "ConnectionError: unexpected connection_lost() call"


def defects(logs: Mapping[str, str]) -> list[str]:
    """One line for each kind of unexpected error, most frequent first."""
    counted: Counter[str] = Counter()
    for name, text in logs.items():
        for line in text.splitlines():
            if line.startswith("Traceback (most recent call last)"):
                counted[f"{name.rpartition('-')[0]}: a traceback outside the log"] += 1
            elif (entry := _entry(line)) is not None and (entry.get("traceback") or entry.get("level") == "error"):
                words = str(entry.get("traceback") or entry.get("reason") or entry.get("error") or "").splitlines()
                last = words[-1] if words else ""
                if last.endswith(_EXPLAINED):
                    continue
                counted[f"{name.rpartition('-')[0]}: {entry.get('event')}: {last[:200]}"] += 1
    return [f"{words} ({count} times)" for words, count in counted.most_common(_SHOWN_MAX)]


def busiest(logs: Mapping[str, str]) -> list[tuple[str, int]]:
    """The events logged most often: a log that is written in a loop is a defect too."""
    counted: Counter[str] = Counter()
    for name, text in logs.items():
        for line in text.splitlines():
            entry = _entry(line)
            if entry is not None:
                counted[f"{name.rpartition('-')[0]}: {entry.get('event')} ({entry.get('level')})"] += 1
    return counted.most_common(_SHOWN_MAX)


def _entry(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None  # cut by a kill
    return entry if isinstance(entry, dict) else None
