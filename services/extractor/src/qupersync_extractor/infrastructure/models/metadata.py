"""What `metadata.json` of a model must say, checked field by field."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from qupersync_extractor.application.scoring.ports import ModelMetadata, ModelUnavailableError, Output

METADATA_FILE: Final = "metadata.json"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_FIELDS: Final = ("version", "artifact", "sha256", "features", "output", "framework", "framework_version", "created_at")


def parsed(text: str, path: Path) -> dict[str, Any]:
    """The JSON object of the file; ModelUnavailableError names it where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelUnavailableError(f"{path} is not JSON: {error}", cure="Write the file anew") from None
    if not isinstance(found, dict):
        raise _wrong(path, "it is not a JSON object")
    return found


def checked(found: Mapping[str, Any], path: Path, *, version: str) -> ModelMetadata:
    """The metadata of the pinned version; ModelUnavailableError names the file, the field and what it must be."""
    missing = [name for name in _FIELDS if name not in found]
    if missing:
        raise _wrong(path, f"{missing[0]} is missing")
    if found["version"] != version:
        raise ModelUnavailableError(
            f"{path} is of version {found['version']!r}, and {version!r} is pinned",
            cure="Put each version into a directory of its own, named after it",
        )
    features = _features(found["features"], path)
    return ModelMetadata(
        version=version,
        artifact=_artifact(found["artifact"], path),
        digest=_digest(found["sha256"], path),
        features=features,
        output=_output(found["output"], path),
        framework=_text(found["framework"], "framework", path),
        framework_version=_text(found["framework_version"], "framework_version", path),
        created_at=_moment(found["created_at"], path),
        example=_example(found.get("example"), features, path),
    )


def _features(value: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
        raise _wrong(path, "features must be a list of names, one at least, in the order of the model's columns")
    doubled = sorted(name for name, count in Counter(value).items() if count > 1)
    if doubled:
        raise _wrong(path, f"feature {doubled[0]!r} stands twice")
    return tuple(value)


def _artifact(value: Any, path: Path) -> str:
    name = _text(value, "artifact", path)
    if name in {".", "..", METADATA_FILE} or "/" in name or "\\" in name or "\0" in name:
        raise _wrong(path, f"artifact {name!r} must be the name of a file beside it")
    return name


def _digest(value: Any, path: Path) -> str:
    digest = _text(value, "sha256", path).lower()
    if _DIGEST.fullmatch(digest) is None:
        raise _wrong(path, "sha256 must be 64 hexadecimal digits")
    return digest


def _output(value: Any, path: Path) -> Output:
    try:
        return Output(value)
    except ValueError:
        raise _wrong(path, f"output must be one of {', '.join(Output)}") from None


def _moment(value: Any, path: Path) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(value, "created_at", path))
    except ValueError:
        raise _wrong(path, "created_at must be a time as in 2026-01-31T12:00:00Z") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _example(value: Any, features: tuple[str, ...], path: Path) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        numbers = [float(one) for one in value if isinstance(one, int | float)] if isinstance(value, list) else []
    except OverflowError:
        numbers = []
    if not len(numbers) == len(value) == len(features) or not all(map(math.isfinite, numbers)):
        raise _wrong(path, f"example must be a list of {len(features)} numbers, one a feature")
    return tuple(numbers)


def _text(value: Any, name: str, path: Path) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(path, f"{name} must be a text that is not empty")
    return value


def _wrong(path: Path, what: str) -> ModelUnavailableError:
    return ModelUnavailableError(f"{path} is wrong: {what}", cure="Mend the file; docs/scoring.md says what it holds")
