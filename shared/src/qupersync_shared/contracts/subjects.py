"""Names on NATS: streams, lane subjects, durables, commands and the progress bucket."""

import re
from typing import Final

from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName

PROGRESS_BUCKET: Final = "qupersync_progress"
COMMAND_RESEND: Final = "qupersync.cmd.resend"
COMMAND_SNAPSHOT: Final = "qupersync.cmd.snapshot"
COMMAND_FORK: Final = "qupersync.cmd.fork"
COMMAND_REREAD: Final = "qupersync.cmd.reread"

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


def check_name(name: str) -> str:
    """The name of a pipeline or loader group, as it came; ValueError unless it matches `NAME`."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} must match {NAME.pattern}: lower-case letters, digits and underscores, at most 63")
    return name


def stream_name(pipeline: PipelineName) -> str:
    return f"qupersync_{pipeline}"


def lane_subject(pipeline: PipelineName, lane: Lane) -> str:
    return f"qupersync.lane.{pipeline}.{lane}"


def stream_subjects(pipeline: PipelineName) -> str:
    """The subjects a pipeline's stream listens to."""
    return f"qupersync.lane.{pipeline}.*"


def durable_name(group: GroupName, pipeline: PipelineName, lane: Lane) -> str:
    """The durable consumer of one lane in one loader group (unique within the pipeline's stream)."""
    return f"{group}_{pipeline}_{lane}"
