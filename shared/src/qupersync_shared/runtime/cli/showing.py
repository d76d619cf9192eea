"""`qupersync config show`: what is in force, without a secret in it."""

import sys
from typing import TYPE_CHECKING, Any, Final

import typer

from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import ConfigOption, JsonOption
from qupersync_shared.runtime.console import print_json
from qupersync_shared.runtime.logs import mask

if TYPE_CHECKING:
    from pydantic import SecretStr

    from qupersync_shared.runtime.settings import Configuration

_MASK: Final = "***"


def show_configuration(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print the configuration as it is in force, with defaults and environment; secrets masked."""
    show(configuration(context, config), as_json=as_json)


def show(configuration: "Configuration", *, as_json: bool) -> None:
    """Prints the configuration as YAML that could be loaded again once the secrets are put back, or as JSON."""
    shown = masked(configuration)
    if as_json:
        print_json(shown)
    else:
        import yaml

        sys.stdout.write(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True))


def masked(configuration: "Configuration") -> dict[str, Any]:
    """The configuration as plain values; passwords masked, also inside DSNs and server addresses."""
    plain = configuration.model_dump(mode="json", by_alias=True, exclude_none=True)
    for section in ("outbox", "target"):
        dsn: SecretStr | None = getattr(getattr(configuration, section), "dsn", None)
        if dsn is not None:
            plain[section]["dsn"] = mask(dsn.get_secret_value())
    for section in ("source", "outbox", "target", "nats"):
        if isinstance(plain.get(section), dict) and "password" in plain[section]:
            plain[section]["password"] = _MASK
    for name, pipeline in configuration.pipelines.items():
        if pipeline.snapshot_every is None:  # null is a choice here, not an omission
            plain["pipelines"][name]["snapshot_every"] = None
    if configuration.nats is not None:
        plain["nats"]["servers"] = [mask(server) for server in configuration.nats.servers]
    return plain
