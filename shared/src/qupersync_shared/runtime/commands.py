"""Asking another service: one request on `qupersync.cmd.>`, one reply, or an error that says to ask again."""

from typing import TypeVar

from nats.aio.client import Client
from pydantic import ValidationError

from qupersync_shared.contracts.commands import Command
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.runtime.jetstream import translated

Reply = TypeVar("Reply", bound=Command)


async def ask(client: Client, subject: str, request: Command, reply: type[Reply], *, timeout: float = 5) -> Reply:
    """The reply to a command. StreamUnavailableError when nobody answers, or nobody could: the command may or may not
    have been carried out, and asking again is safe.
    """
    with translated(f"ask {subject}"):
        answer = await client.request(subject, request.model_dump_json().encode(), timeout=timeout)
    try:
        return reply.model_validate_json(answer.data)
    except ValidationError as error:
        raise StreamUnavailableError(
            f"the reply to {subject} is not a {reply.__name__}", cure="Do all services have the same version?"
        ) from error
