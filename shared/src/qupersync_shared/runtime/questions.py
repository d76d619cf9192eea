"""Answers what other services ask over NATS: one process of a queue each question, on every client of a connection."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from pydantic import ValidationError

from qupersync_shared.contracts.commands import Command
from qupersync_shared.kernel.errors import QupersyncError, TransientError
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.lifecycle import end_tasks
from qupersync_shared.runtime.logs import describe, get_logger

_LOOK_SECONDS: Final = 5.0

_log = get_logger(__name__)


class Refusing(Protocol):
    """Makes the reply that says why there is no answer."""

    def __call__(self, *, refused: str, cure: str, passing: bool) -> Command: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What is asked on one subject, and how it is answered. Errors of the answer become refusals.

    `failure` is what the log calls a defect in answering.
    """

    subject: str
    question: type[Command]
    answer: Callable[[Any], Awaitable[Command]]
    refusal: Refusing
    failure: str = "question_failed"


class QuestionServer:
    """Serves the topics that it was last given; so many questions at a time, the others wait their turn."""

    def __init__(self, connection: Connection, *, queue: str, at_once: int = 1) -> None:
        self._connection = connection
        self._queue = queue
        self._topics: dict[str, Topic] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._client: Client | None = None
        self._turn = asyncio.Semaphore(at_once)
        self._answering: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serves as soon as NATS is there, and again whenever it has come back."""
        await self._connection.on_connect(self._subscribe_all)
        self._keeping = asyncio.create_task(self._keep_connected(), name="questions")

    async def serve(self, topics: Sequence[Topic]) -> None:
        """From now on these topics, as they are defined here, and no others."""
        self._topics = {topic.subject: topic for topic in topics}
        async with self._changing:
            await self._follow()

    async def stop(self) -> None:
        """Takes no more questions; what is under way is given up, and asked again of another."""
        if self._keeping is not None:
            await end_tasks([self._keeping])
        await self.serve(())
        await end_tasks(list(self._answering))

    async def _keep_connected(self) -> None:
        """Nobody else may ask for this connection's client."""
        while True:
            with contextlib.suppress(QupersyncError):
                await self._connection.client()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _subscribe_all(self, client: Client) -> None:
        async with self._changing:
            self._client = client
            self._subscriptions = {}
            await self._follow()

    async def _follow(self) -> None:
        if self._client is None or self._client.is_closed:
            return
        for subject in set(self._subscriptions) - set(self._topics):
            try:
                await self._subscriptions.pop(subject).unsubscribe()
            except nats.errors.Error as error:
                _log.debug("unsubscribe_failed", error=error)
        for subject, topic in self._topics.items():
            if subject not in self._subscriptions:
                receive = self._receiver(topic)
                self._subscriptions[subject] = await self._client.subscribe(subject, queue=self._queue, cb=receive)
        await self._client.flush()

    def _receiver(self, subscribed: Topic) -> Callable[[Msg], Awaitable[None]]:
        async def receive(message: Msg) -> None:
            # nats-py awaits one callback after the other: a slow answer must not hold the others of this client up.
            task = asyncio.create_task(self._answer(message, subscribed))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

        return receive

    async def _answer(self, message: Msg, subscribed: Topic) -> None:
        async with self._turn:
            try:
                reply = await self._reply_or_reason(message, subscribed)
                try:
                    await message.respond(_written(reply))
                except nats.errors.MaxPayloadError:
                    await message.respond(_written(_too_long(subscribed)))
            except (nats.errors.Error, OSError) as error:
                _log.info("question_unanswered", subject=subscribed.subject, error=error)

    async def _reply_or_reason(self, message: Msg, subscribed: Topic) -> Command:
        """Silence would be taken for a process that is missing."""
        topic = self._topics.get(subscribed.subject)
        if topic is None:
            return subscribed.refusal(refused="this process has just let the pipeline go", cure="", passing=True)
        try:
            question = topic.question.model_validate_json(message.data)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            cure = "Do all services have the same version?"
            return topic.refusal(refused=f"the question cannot be read: {problem}", cure=cure, passing=False)
        try:
            return await topic.answer(question)
        except QupersyncError as error:
            passing = isinstance(error, TransientError)
            plain = QupersyncError(error.message)  # the cure has a field of its own
            return topic.refusal(refused=describe(plain), cure=error.cure, passing=passing)
        except Exception as error:  # noqa: BLE001  # one question must not end the server
            _log.exception(topic.failure, subject=topic.subject)
            return topic.refusal(
                refused=f"the process that was asked could not answer ({type(error).__name__})",
                cure=f"Its log has `{topic.failure}` with the cause",
                passing=False,
            )


def _written(reply: Command) -> bytes:
    return reply.model_dump_json(exclude_defaults=True).encode()


def _too_long(topic: Topic) -> Command:
    return topic.refusal(
        refused="the answer is longer than a NATS message may be",
        cure="Raise the server's max_payload, or look with the services' own commands",
        passing=False,
    )
