"""The page's own files: read once, served from memory, under an address that changes with their content."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

_TYPES: Final[Mapping[str, str]] = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "json": "application/json",
}
_VERSION_DIGITS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file as it is served."""

    content: bytes
    media_type: str
    sha256: str

    @property
    def version(self) -> str:
        """What tells this content from any other, for addresses."""
        return self.sha256[:_VERSION_DIGITS]


@cache
def assets() -> Mapping[str, Asset]:
    """All files below `static`, by their path from there; nothing else is ever served."""
    return dict(_found(files("qupersync_extractor.interface.page") / "static", ""))


def address(name: str, root: str = "") -> str:
    """Where a browser finds a file; KeyError for one that is not there."""
    return f"{root}/static/{name}?v={assets()[name].version}"


def pinned() -> list[dict[str, str]]:
    """What was written by others, as `vendor.json` pins it: file, package, version, licence and SHA-256."""
    listed: list[dict[str, str]] = json.loads(assets()["vendor/vendor.json"].content)
    return listed


def _found(place: Traversable, path: str) -> list[tuple[str, Asset]]:
    found: list[tuple[str, Asset]] = []
    for entry in place.iterdir():
        name = f"{path}{entry.name}"
        kind = _TYPES.get(entry.name.rpartition(".")[2])
        if entry.is_dir():
            found += _found(entry, f"{name}/")
        elif kind is not None:
            content = entry.read_bytes()
            found.append((name, Asset(content=content, media_type=kind, sha256=hashlib.sha256(content).hexdigest())))
    return found
