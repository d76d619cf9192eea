"""Who may ask: secrets in files, read again when they change, and compared without telling how much of one fits."""

import hashlib
import hmac
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.settings.control import TokenSection

SECRET_CHARACTERS_MIN: Final = 16
_BYTES_MAX: Final = 4096

_log = get_logger(__name__)


class Role(StrEnum):
    """What a caller may do: a viewer looks, an operator acts, too."""

    VIEWER = "viewer"
    OPERATOR = "operator"

    def may(self, needed: "Role") -> bool:
        """Whether this role has what the other one has."""
        return self is Role.OPERATOR or needed is Role.VIEWER


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that is in force, without its secret."""

    name: str
    role: Role
    digest: bytes


@dataclass(slots=True)
class _Read:
    """What a file held when it had this stamp."""

    stamp: tuple[int, int, int] | None = None
    digest: bytes | None = None
    trouble: ConfigurationError | None = None


class Tokens:
    """The configured tokens. One whose file is wrong is in force no more, until it is mended."""

    def __init__(self, sections: Sequence[TokenSection]) -> None:
        self._sections = tuple(sections)
        self._read = [_Read() for _ in self._sections]
        self._told: frozenset[str] = frozenset()

    @property
    def configured(self) -> bool:
        """Whether anybody needs one; else this machine may do everything."""
        return bool(self._sections)

    def check(self) -> None:
        """ConfigurationError for the first file that holds no secret of its own."""
        self._look()
        for trouble in self._troubles():
            raise trouble

    def in_force(self) -> list[Token]:
        """The tokens that are accepted now."""
        self._look()
        troubles = self._troubles()
        self._tell(troubles)
        shared = self._shared()
        return [
            Token(name=section.name, role=Role(section.role), digest=read.digest)
            for section, read in zip(self._sections, self._read, strict=True)
            if read.digest is not None and read.digest not in shared
        ]

    def of(self, secret: str) -> Token | None:
        """The token with this secret. All are compared, each in the same time whatever the secret is."""
        asked = _digest(secret.encode())
        found: Token | None = None
        for token in self.in_force():
            if hmac.compare_digest(token.digest, asked):
                found = token
        return found

    def named(self, name: str) -> Token | None:
        """The token of this name, if it is in force."""
        return next((token for token in self.in_force() if token.name == name), None)

    # ------------------------------------------------------------------------------------------------------- files

    def _look(self) -> None:
        for index, (section, read) in enumerate(zip(self._sections, self._read, strict=True)):
            stamp = _stamp(section.file)
            if stamp is not None and stamp == read.stamp:
                continue
            try:
                found = _Read(stamp=stamp, digest=_digest(_secret(section.file, f"control.tokens.{index}.file")))
            except ConfigurationError as error:
                found = _Read(stamp=stamp, trouble=error)
            self._read[index] = found

    def _shared(self) -> frozenset[bytes]:
        """What several files hold: nobody could say who it is that asks."""
        counted = Counter(read.digest for read in self._read if read.digest is not None)
        return frozenset(digest for digest, times in counted.items() if times > 1)

    def _troubles(self) -> list[ConfigurationError]:
        troubles = [read.trouble for read in self._read if read.trouble is not None]
        shared = self._shared()
        alike = [
            f"control.tokens.{index}.file"
            for index, read in enumerate(self._read)
            if read.digest is not None and read.digest in shared
        ]
        if alike:
            troubles.append(
                ConfigurationError(
                    "these files hold the same secret: nobody could say who it is that asks",
                    place=", ".join(alike),
                    cure="Write another secret into each: `openssl rand -hex 32`",
                )
            )
        return troubles

    def _tell(self, troubles: Sequence[ConfigurationError]) -> None:
        told = frozenset(str(trouble) for trouble in troubles)
        for reason in sorted(told - self._told):
            _log.warning("token_not_in_force", reason=reason)
        self._told = told


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _secret(path: Path, place: str) -> bytes:
    cure = f"Write {SECRET_CHARACTERS_MIN} or more characters into it: `openssl rand -hex 32 > {path}`"
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1).strip()
    except OSError as error:
        raise ConfigurationError(
            f"the token's file {path} cannot be read ({error.strerror or error})", place=place, cure=cure
        ) from error
    if len(content) > _BYTES_MAX:
        raise ConfigurationError(f"the token's file {path} has more than {_BYTES_MAX} bytes", place=place, cure=cure)
    if len(content) < SECRET_CHARACTERS_MIN:
        short = "is empty" if not content else f"holds fewer than {SECRET_CHARACTERS_MIN} characters"
        raise ConfigurationError(f"the token's file {path} {short}", place=place, cure=cure)
    if not all(0x21 <= byte <= 0x7E for byte in content):  # noqa: PLR2004  # what a header can carry
        raise ConfigurationError(
            f"the token in {path} has characters that no HTTP header carries", place=place, cure=cure
        )
    return content


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
