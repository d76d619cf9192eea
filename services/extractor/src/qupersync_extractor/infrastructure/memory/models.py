"""A model registry in memory."""

from dataclasses import dataclass, field
from typing import Any

from qupersync_extractor.application.scoring.ports import UNKNOWN, Model, ModelMetadata, ModelUnavailableError


@dataclass(slots=True)
class MemoryModels:
    """Models that were put there; `broken` are those that cannot be opened, with the reason."""

    _models: dict[tuple[str, str], Model] = field(default_factory=dict)
    _broken: dict[tuple[str, str], str] = field(default_factory=dict)
    opened: int = 0

    def put(self, model: str, content: Model) -> None:
        """The content becomes the model of its version."""
        self._models[model, content.metadata.version] = content
        self._broken.pop((model, content.metadata.version), None)

    def damage(self, model: str, version: str, reason: str) -> None:
        """From now on this version is there and cannot be opened."""
        self._broken[model, version] = reason

    def described(self, model: str, version: str) -> dict[str, Any]:
        content = self._models.get((model, version))
        if content is None:
            return {"version": UNKNOWN}
        known = content.metadata
        return {"version": known.version, "features": list(known.features), "sha256": known.digest}

    def metadata(self, model: str, version: str) -> ModelMetadata:
        content = self._models.get((model, version))
        if content is None:
            raise ModelUnavailableError(f"model {model} has no version {version}", cure="Put the model there")
        return content.metadata

    def open(self, model: str, version: str) -> Model:
        self.metadata(model, version)
        if (model, version) in self._broken:
            raise ModelUnavailableError(self._broken[model, version])
        self.opened += 1
        return self._models[model, version]
