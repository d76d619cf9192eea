"""The sub-commands that are there whatever is installed, and the order in which all of them are listed."""

from typing import Final

from qupersync_shared.runtime.plugins import Command

_HERE: Final = "qupersync_shared.runtime.cli"

ORDER: Final = (
    *("init", "check", "config", "up", "demo"),
    *("status", "history", "ledger", "events", "groups", "sample", "verify"),
    *("trigger", "pause", "resume", "reset", "retire"),
    *("quarantine", "dead-letters", "rebuild", "replay", "completion"),
)

_GROUPS: Final = Command(
    name="groups",
    help="Loader groups and their claims.",
    commands=(
        Command(
            name="list",
            help="Show every loader group that NATS knows of, pipeline by pipeline.",
            body=f"{_HERE}.groups:list_groups",
            examples=("qupersync groups list", "qupersync groups list --json"),
        ),
        Command(
            name="remove",
            help="End the claim of a loader group that is gone.",
            body=f"{_HERE}.groups:remove_group",
            examples=(
                "qupersync groups remove reporting",
                "qupersync groups remove reporting --pipeline cost_usage --yes",
            ),
        ),
    ),
)

_QUARANTINE: Final = Command(
    name="quarantine",
    help="Rows that were refused, and wait.",
    commands=(
        Command(
            name="list",
            help="List rows that wait in quarantine, at the source and in the target.",
            body=f"{_HERE}.quarantine_commands:list_rows",
            examples=("qupersync quarantine list -p cost_usage", "qupersync quarantine list --all --json"),
        ),
        Command(
            name="show",
            help="Show one row with its content and everything that is known of it.",
            body=f"{_HERE}.quarantine_commands:show_row",
            examples=("qupersync quarantine show target-17",),
        ),
        Command(
            name="redrive",
            help="Have rows read again from the source: what loads, or is gone there, leaves the quarantine.",
            body=f"{_HERE}.quarantine_commands:redrive_rows",
            examples=(
                "qupersync quarantine redrive target-17 --wait 60",
                "qupersync quarantine redrive -p cost_usage",
            ),
        ),
        Command(
            name="discard",
            help="End the wait of rows without loading them.",
            body=f"{_HERE}.quarantine_commands:discard_rows",
            examples=("qupersync quarantine discard target-17", "qupersync quarantine discard -p cost_usage --yes"),
        ),
    ),
)

COMMANDS: Final = (
    Command(
        name="init",
        help="Write a commented configuration to begin with.",
        body=f"{_HERE}.starting:init",
        examples=("qupersync init", "qupersync init staging.yaml --force"),
    ),
    Command(
        name="check",
        help="Look at everything a sync needs, with a cure for what is missing.",
        body=f"{_HERE}.check_command:check",
        examples=("qupersync check", "qupersync check cost_usage --full --json"),
    ),
    Command(
        name="config",
        help="Look at the configuration.",
        commands=(
            Command(
                name="show",
                help="Print the configuration as it is in force, with defaults and environment; secrets masked.",
                body=f"{_HERE}.showing:show_configuration",
                examples=("qupersync config show", "qupersync config show --json | jq .pipelines"),
            ),
        ),
    ),
    Command(
        name="status",
        help="Show where every pipeline stands, and the reason when something is wrong.",
        body=f"{_HERE}.status_command:status",
        examples=("qupersync status", "qupersync status --watch", "qupersync status --json | jq .reasons"),
    ),
    Command(
        name="events",
        help="Show the events in a pipeline's stream.",
        body=f"{_HERE}.events_command:show_events",
        examples=(
            "qupersync events cost_usage --limit 20",
            "qupersync events cost_usage --lane 2 --rows --follow",
        ),
    ),
    _GROUPS,
    Command(
        name="sample",
        help="Show some rows of a pipeline, spread over the table: the same ones each time while nothing changes.",
        body=f"{_HERE}.sample:sample",
        examples=("qupersync sample cost_usage", "qupersync sample cost_usage --from source --rows 3 --json"),
    ),
    _QUARANTINE,
    Command(
        name="completion",
        help="Print the script that lets a shell complete commands, options and pipeline names.",
        body=f"{_HERE}.completion:completion",
        examples=(
            "qupersync completion bash > ~/.local/share/bash-completion/completions/qupersync",
            "qupersync completion zsh > ~/.zfunc/_qupersync",
            "qupersync completion fish > ~/.config/fish/completions/qupersync.fish",
        ),
    ),
)
