"""Reads the file, lays the environment over it, resolves secrets, and turns every problem into one clear error."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args, get_origin
from urllib.parse import quote, urlsplit, urlunsplit

import yaml
from pydantic import BaseModel, SecretStr, ValidationError

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.settings.model import Configuration

DEFAULT_PATH: Final = Path("qupersync.yaml")
PATH_VARIABLE: Final = "QUPERSYNC_CONFIG"
_PREFIX: Final = "QUPERSYNC_"
_OWN_VARIABLES: Final = frozenset({PATH_VARIABLE})
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1", "", None})
_SECRETS: Final = frozenset({"password", "dsn"})
_SECTIONS: Final = tuple(Configuration.model_fields)


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Configuration:
    """The configuration from `path` (else $QUPERSYNC_CONFIG, else ./qupersync.yaml) and `QUPERSYNC_SECTION__KEY`.

    ConfigurationError names file, line, key and cure. Secrets in the file are refused, unless they are for a server
    on this machine; `*_file` keys and the environment carry them.
    """
    path = configuration_path(path, environ)
    tree, lines = _read(path)
    _refuse_secrets(tree, path, lines)
    origins = _overlay(tree, environ)
    _read_secret_files(tree, path, lines)
    try:
        return Configuration.model_validate(tree).read_from(path)
    except ValidationError as error:
        raise _explain(error, path, lines, origins) from None


def configuration_path(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the configuration is read from: `path`, else $QUPERSYNC_CONFIG, else ./qupersync.yaml."""
    return path or Path(environ.get(PATH_VARIABLE, "") or DEFAULT_PATH)


def _read(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            "there is no such file",
            place=str(path),
            cure=f"`qupersync init` writes one; ${PATH_VARIABLE} names another",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else f"not UTF-8 at byte {error.start}"
        cure = "Name a file in UTF-8 that this process may read"
        raise ConfigurationError(f"cannot be read: {why}", place=str(path), cure=cure) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        cure = "Indent with blanks, not tabs" if "\\t" in problem else "Mind indentation, colons and quotes"
        raise ConfigurationError(f"not YAML: {problem}", place=place, cure=cure) from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigurationError("not a mapping of sections", place=str(path), cure=f"Sections: {', '.join(_SECTIONS)}")
    lines: dict[tuple[str, ...], int] = {}
    _note_lines(node, (), lines, path)
    # A section whose every line is a comment is as good as absent.
    return {key: value for key, value in tree.items() if value is not None or key not in _SECTIONS}, lines


def _note_lines(node: Any, at: tuple[str, ...], lines: dict[tuple[str, ...], int], path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            where = (*at, str(key.value))
            if where in lines:
                raise ConfigurationError(
                    f"{'.'.join(where)} stands twice (first on line {lines[where]})",
                    place=f"{path}:{key.start_mark.line + 1}",
                    cure="Remove one of them",
                )
            lines[where] = key.start_mark.line + 1
            _note_lines(value, where, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[*at, str(index)] = value.start_mark.line + 1
            _note_lines(value, (*at, str(index)), lines, path)


def _overlay(tree: dict[str, Any], environ: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """Lays `QUPERSYNC_SOURCE__PASSWORD=…` and the like over the tree; returns which variable set which key."""
    origins: dict[tuple[str, ...], str] = {}
    for variable in sorted(environ):
        parts = tuple(part.lower() for part in variable.removeprefix(_PREFIX).split("__"))
        if not variable.startswith(_PREFIX) or variable in _OWN_VARIABLES or len(parts) == 1:
            continue
        if parts[0] not in _SECTIONS:
            raise ConfigurationError(
                f"there is no section {parts[0]}",
                place=f"environment variable {variable}",
                cure=_suggestion(parts[0], _SECTIONS, "Sections"),
            )
        if parts[-1] in _SECRETS and not environ[variable]:
            continue  # as compose files leave it when nobody set it
        branch: Any = tree
        for part in parts[:-1]:
            branch = branch.setdefault(part, {}) if isinstance(branch, dict) else None
        if not isinstance(branch, dict):
            raise ConfigurationError(
                f"{'.'.join(parts[:-1])} is not a section",
                place=f"environment variable {variable}",
                cure="Mend its name",
            )
        branch[parts[-1]] = environ[variable] if _is_text(parts) else _scalar(environ[variable])
        origins[parts] = variable
    return origins


def _is_text(where: tuple[str, ...]) -> bool:
    """Whether a key holds text or a secret: what looks like a number in the environment is text there, too."""
    annotations = [
        field.annotation
        for model in _models_at(where[:-1])
        for name, field in model.model_fields.items()
        if where[-1] in (name, field.alias)
    ]
    plain = [annotation for annotation in annotations if get_origin(annotation) is not list]
    kinds = {kind for annotation in plain for kind in (get_args(annotation) or (annotation,))}
    return bool(kinds & {str, SecretStr, Path})


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _refuse_secrets(tree: dict[str, Any], path: Path, lines: dict[tuple[str, ...], int]) -> None:
    for section in ("source", "outbox", "target", "nats"):
        branch = tree.get(section)
        if not isinstance(branch, dict):
            continue
        dsn = branch.get("dsn")
        servers: list[object] = []
        host = branch.get("host") if section == "source" else _dsn_part(dsn, "hostname")
        if section == "nats":
            given = branch.get("servers")
            servers = given if isinstance(given, list) else [given]
            hosts = [_dsn_part(server, "hostname") for server in servers]
            host = next((h for h in hosts if h not in _LOOPBACK), None)
        if host in _LOOPBACK:
            continue
        key = "password" if branch.get("password") is not None else "dsn" if _dsn_part(dsn, "password") else None
        if key is None and section == "nats" and any(_dsn_part(server, "password") for server in servers):
            key = "servers"
        if key:
            raise ConfigurationError(
                f"{section}.{key} holds a secret for {host}, and secrets do not belong in the file",
                place=_place(path, (section, key), lines),
                cure=f"Remove it and set {_PREFIX}{section.upper()}__PASSWORD, or name a file in"
                f" {section}.password_file",
            )


def _read_secret_files(tree: dict[str, Any], path: Path, lines: dict[tuple[str, ...], int]) -> None:
    for section in ("source", "outbox", "target", "nats"):
        branch = tree.get(section)
        if not isinstance(branch, dict):
            continue
        for key in ("password", "dsn"):
            name = branch.get(f"{key}_file")
            if name is None or branch.get(key) is not None:
                continue
            try:
                secret, why = Path(str(name)).read_text(encoding="utf-8").strip(), "it is empty"
            except (OSError, UnicodeDecodeError) as error:
                secret, why = "", (error.strerror or "") if isinstance(error, OSError) else "it is not UTF-8"
            if not secret:
                raise ConfigurationError(
                    f"{section}.{key}_file, {name}, cannot be used: {why}",
                    place=_place(path, (section, f"{key}_file"), lines),
                    cure="Name a file that holds the secret and that this process may read",
                )
            branch[key] = secret


def require_dsn(section: str, database: Any, path: str = "qupersync.yaml") -> str:
    """The DSN of a database section with its password in place; ConfigurationError when section or DSN is missing."""
    dsn: SecretStr | None = getattr(database, "dsn", None)
    if dsn is None:
        raise ConfigurationError(
            f"{section}.dsn is missing",
            place=path,
            cure=f"Write `{section}: {{dsn: postgresql://user@host:5432/database}}`"
            f" or set {_PREFIX}{section.upper()}__DSN",
        )
    parts = urlsplit(dsn.get_secret_value())
    if parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/"):
        raise ConfigurationError(
            f"{section}.dsn is not postgresql://user@host:5432/database", place=path, cure="Mend the DSN"
        )
    password: SecretStr | None = database.password
    if password is not None:
        user = quote(parts.username or "", safe="") if parts.username else ""
        host = parts.netloc.rpartition("@")[2]
        parts = parts._replace(netloc=f"{user}:{quote(password.get_secret_value(), safe='')}@{host}")
    return urlunsplit(parts._replace(scheme="postgresql"))


def _dsn_part(dsn: object, part: str) -> str | None:
    if not isinstance(dsn, str):
        return None
    try:
        value: str | None = getattr(urlsplit(dsn), part)
    except ValueError:
        return None
    return value


def _place(path: Path, where: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> str:
    while where and where not in lines:
        where = where[:-1]
    return f"{path}:{lines[where]}" if where else str(path)


def _explain(
    error: ValidationError, path: Path, lines: dict[tuple[str, ...], int], origins: dict[tuple[str, ...], str]
) -> ConfigurationError:
    problems = error.errors(include_url=False)
    problem = min(problems, key=lambda each: (each["type"] != "extra_forbidden", len(each["loc"])))
    loc = tuple(str(part) for part in problem["loc"] if part != "[key]")
    # Pydantic names the chosen variant of the source between section and key.
    where = loc[:1] + loc[2:] if loc[:1] == ("source",) and loc[1:2] in {("redshift",), ("duckdb",)} else loc
    variable = origins.get(where)
    place = f"environment variable {variable}" if variable else _place(path, where, lines)
    message, cure = _words(problem["type"], problem["msg"], where)
    more = f" (and {len(problems) - 1} more to mend)" if len(problems) > 1 else ""
    return ConfigurationError(f"{'.'.join(where)}{message}{more}".removeprefix(": "), place=place, cure=cure)


def _words(kind: str, said: str, where: tuple[str, ...]) -> tuple[str, str]:  # noqa: PLR0911  # one line a kind
    """Message and cure for a problem, as people read them."""
    match kind:
        case "extra_forbidden":
            return ": unknown key", _suggestion(where[-1], _known_keys(where[:-1]), "Known here")
        case "missing":
            return " is missing", _EXAMPLES.get(where[-1], "Add it; `qupersync init` shows an example")
        case "union_tag_not_found":
            return ".kind is missing", "Write `kind: redshift` or `kind: duckdb`"
        case "union_tag_invalid":
            return ".kind: unknown kind of source", "Write `kind: redshift` or `kind: duckdb`"
        case "list_type":
            return " is not a list", f"Write `{where[-1]}: [one, two]`, also for a single one"
        case "model_type" | "model_attributes_type" | "dict_type":
            return " is not a section", "Write its keys below it, indented, each as `key: value`"
        case _:
            wrong, separator, cure = said.removeprefix("Value error, ").partition(": write ")
            if separator:
                return f": {wrong}", f"Write {cure}"
            return f": {wrong[:1].lower()}{wrong[1:]}", "Mend this value"


_EXAMPLES: Final = {
    "key": "Write `key: [id]`: the columns that tell rows apart",
    "into": "Write `into: schema.table`: the table to keep equal",
    "servers": "Write `servers: [nats://localhost:4222]`",
}


def _suggestion(word: str, known: Sequence[str], title: str) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"{title}: {', '.join(known)}"


def _known_keys(where: tuple[str, ...]) -> list[str]:
    """The keys that may stand at a place, as they are written in the file."""
    return sorted({field.alias or name for model in _models_at(where) for name, field in model.model_fields.items()})


def _models_at(where: tuple[str, ...]) -> list[type[BaseModel]]:
    """The models whose keys may stand at a place; a pipeline's name is no key of a model."""
    models: list[type[BaseModel]] = [Configuration]
    path = (where[0], *where[2:]) if where[:1] == ("pipelines",) else where
    for part in path:
        models = [
            inner
            for model in models
            for name, field in model.model_fields.items()
            if part in (name, field.alias)
            for inner in _models_in(field.annotation)
        ]
    return models


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]
