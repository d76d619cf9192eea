"""Models in a directory: <path>/<model>/<version>/ holds metadata.json and the artifact that it names."""

import hashlib
import io
import os
import stat
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any, Final

from qupersync_extractor.application.scoring.ports import UNKNOWN, Model, ModelMetadata, ModelUnavailableError
from qupersync_extractor.infrastructure.models.estimator import opened
from qupersync_extractor.infrastructure.models.metadata import METADATA_FILE, checked, parsed

CACHED_MAX: Final = 8
METADATA_BYTES_MAX: Final = 1 << 20
ARTIFACT_BYTES_MAX: Final = 2 << 30
_CHUNK: Final = 1 << 20

Place = tuple[str, str, str]


class FileModelRegistry:
    """Keeps the models that were opened last in memory, by name, version and digest; threads may share it."""

    def __init__(self, path: Path, *, cached_max: int = CACHED_MAX) -> None:
        self._path = path
        self._cached_max = cached_max
        self._cached: OrderedDict[Place, tuple[ModelMetadata, Model]] = OrderedDict()
        self._lock = Lock()

    def described(self, model: str, version: str) -> dict[str, Any]:
        path = self._directory(model, version) / METADATA_FILE
        try:
            content = self._read(path, METADATA_BYTES_MAX)
        except FileNotFoundError:
            return {"version": UNKNOWN}
        return parsed(content.getvalue().decode(errors="replace"), path)

    def metadata(self, model: str, version: str) -> ModelMetadata:
        found = self.described(model, version)
        path = self._directory(model, version) / METADATA_FILE
        if found.get("version") == UNKNOWN:
            why = "is missing" if found == {"version": UNKNOWN} else f"says that its version is {UNKNOWN}"
            raise ModelUnavailableError(
                f"model {model} has no version {version}: {path} {why}",
                cure="Put the model there, or pin another version",
            )
        return checked(found, path, version=version)

    def open(self, model: str, version: str) -> Model:
        metadata = self.metadata(model, version)
        place = (model, version, metadata.digest)
        with self._lock:
            known = self._cached.get(place)
            if known is not None and known[0] == metadata:
                self._cached.move_to_end(place)
                return known[1]
            made = self._opened(self._directory(model, version) / metadata.artifact, metadata)
            self._cached[place] = (metadata, made)
            self._cached.move_to_end(place)
            while len(self._cached) > self._cached_max:
                self._cached.popitem(last=False)
            return made

    def _opened(self, path: Path, metadata: ModelMetadata) -> Model:
        try:
            content = self._read(path, ARTIFACT_BYTES_MAX)
        except FileNotFoundError:
            raise ModelUnavailableError(
                f"the model's artifact {path} is missing", cure=f"Put it there, or mend {METADATA_FILE} beside it"
            ) from None
        # What is hashed is what is opened: the file may be another by now.
        found = hashlib.sha256(content.getbuffer()).hexdigest()
        if found != metadata.digest:
            raise ModelUnavailableError(
                f"{path} is not the artifact that its metadata names, and was not opened: its SHA-256 is {found}, and "
                f"{metadata.digest} is expected",
                cure="Restore the artifact; another one is another version",
            )
        return opened(content, metadata, place=str(path))

    def _directory(self, model: str, version: str) -> Path:
        for name in (model, version):
            if name in {"", ".", ".."} or "/" in name or "\\" in name or "\0" in name:
                raise ModelUnavailableError(
                    f"{name!r} leaves the model registry {self._path}", cure="Write the name of a directory in it"
                )
        return self._path / model / version

    def _read(self, path: Path, bytes_max: int) -> io.BytesIO:
        """The file's content, from one opening; FileNotFoundError, or ModelUnavailableError naming the path."""
        try:
            root, real = self._path.resolve(), path.resolve(strict=True)
            if not real.is_relative_to(root):
                raise ModelUnavailableError(
                    f"{path} leads out of the model registry {root}", cure="Put the file itself there, not a link"
                )
            # Without waiting: what is no regular file, a pipe for instance, is refused below.
            with os.fdopen(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                facts = os.fstat(file.fileno())
                if not stat.S_ISREG(facts.st_mode):
                    raise ModelUnavailableError(f"{path} is not a file", cure="Put the file itself there")
                content = io.BytesIO()
                while chunk := file.read(_CHUNK):
                    content.write(chunk)
                    if content.tell() > bytes_max:
                        raise ModelUnavailableError(f"{path} is larger than {bytes_max} bytes", cure="Make it smaller")
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(path) from None
        except (OSError, RuntimeError) as error:
            raise ModelUnavailableError(f"{path} cannot be read: {error}", cure="Mend its rights or its disk") from None
        content.seek(0)
        return content
