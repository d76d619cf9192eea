"""What the shell is told while somebody types: quickly, and nothing at all where something is wrong."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer


def pipeline_names(context: typer.Context, incomplete: str) -> list[str]:
    """The configured pipelines whose names begin so."""
    with suppress(Exception):
        return sorted(name for name in _configured(_path(context)) if name.startswith(incomplete))
    return []


def _path(context: typer.Context) -> Path:
    """The file that the command would read."""
    here: Any = context
    while here is not None:
        given = here.params.get("config")
        if given:
            return Path(given).expanduser()
        here = here.parent
    return Path(os.environ.get("QUPERSYNC_CONFIG", "") or "qupersync.yaml")


def _configured(path: Path) -> list[str]:
    """Names alone: nothing is validated, and no model is imported for it."""
    import yaml

    # The loader of C code reads a hundred pipelines in a few milliseconds; some installations are without it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506  # both loaders are safe ones
    if not isinstance(tree, Mapping):
        return []
    if tree.get("include"):
        from qupersync_shared.runtime.settings.catalogue import include

        tree = include(tree)
    return [str(name) for name in tree.get("pipelines") or ()]
