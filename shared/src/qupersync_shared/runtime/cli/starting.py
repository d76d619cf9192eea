"""`qupersync init`: a configuration to begin with, every option explained."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from qupersync_shared.kernel.errors import ConfigurationError


def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("qupersync.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented configuration to begin with."""
    write(path, force=force)
    typer.echo(f"wrote {path}: mend it, then run `qupersync check`")


def template() -> str:
    """The commented file as it is written."""
    return (files("qupersync_shared.runtime.cli") / "qupersync.yaml").read_text(encoding="utf-8")


def write(path: Path, *, force: bool) -> None:
    """Writes the template; ConfigurationError when something stands there and `force` was not given."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError:
        raise ConfigurationError(
            "there is a file already", place=str(path), cure="Name another path, or overwrite it with --force"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written: {error.strerror or error}", place=str(path), cure="Name a path in a directory of yours"
        ) from None
