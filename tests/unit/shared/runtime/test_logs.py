"""Logs: parseable, and free of secrets and rows."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from pydantic import SecretStr

from qupersync_shared.kernel.errors import StreamFullError
from qupersync_shared.runtime import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_piped_events_are_json_with_their_fields(stream: io.StringIO) -> None:
    logs.configure("info", stream=stream)
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    logs.get_logger("qupersync.test").info("batch_applied", pipeline="cost", sequence=7, at=moment, nothing=None)
    [event] = written(stream)
    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "info",
        "event": "batch_applied",
        "logger": "qupersync.test",
        "pipeline": "cost",
        "sequence": 7,
        "at": "2026-01-02T00:00:00+00:00",
    }


def test_a_terminal_gets_text_unless_json_is_asked_for() -> None:
    terminal = Terminal()
    logs.configure("info", stream=terminal)
    logs.get_logger("x").warning("lease_lost", pipeline="cost usage", owner="a=b", rows=3, empty="")
    assert terminal.getvalue().endswith(' warning lease_lost pipeline="cost usage" owner="a=b" rows=3 empty=""\n')

    again = Terminal()
    logs.configure("info", json=True, stream=again)
    logs.get_logger("x").warning("lease_lost")
    assert written(again)[0]["event"] == "lease_lost"
    assert "\n" not in terminal.getvalue()[:-1], "the earlier handler is gone"


def test_levels_and_bound_fields(stream: io.StringIO) -> None:
    logs.configure("warning", stream=stream)
    log = logs.get_logger("x").bind(lane=2)
    log.info("too_quiet")
    log.bind(group="main").error("loud", lane=3)
    log.error("later")
    events = written(stream)
    assert [(event["event"], event["lane"], event.get("group")) for event in events] == [
        ("loud", 3, "main"),
        ("later", 2, None),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "hush"),
        ("source_password", "hush"),
        ("target_dsn", "postgresql://u:hush@h/db"),
        ("url", "nats://u:hush@h:4222"),
        ("url", "nats://u:hu@sh@h:4222"),
        ("error", ValueError("cannot connect to postgresql://u:hush@h/db")),
        ("error", ValueError("connection string: host=h password=hush user=u")),
        ("error", ValueError("connection string: password='hush'")),
        ("section", {"password": "hush", "deep": {"token": "hush"}}),
        ("urls", ["nats://u:hush@h:4222"]),
        ("secret", SecretStr("hush")),
        ("anything", SecretStr("hush")),
    ],
)
def test_secrets_are_masked(stream: io.StringIO, name: str, value: object) -> None:
    logs.configure("info", stream=stream)
    logs.get_logger("x").info("event", **{name: value})
    assert "hush" not in stream.getvalue()
    assert "sh@" not in stream.getvalue()
    assert "**" in stream.getvalue()


def test_a_secret_in_the_event_itself_is_masked(stream: io.StringIO) -> None:
    logs.configure("info", stream=stream)
    logging.getLogger("foreign").warning("connecting to %s", "amqp://u:hush@h")
    assert "hush" not in stream.getvalue()


def test_row_values_in_errors_stay_out(stream: io.StringIO) -> None:
    logs.configure("info", stream=stream)
    error = ValueError("duplicate key value violates unique constraint\nDETAIL: Key (id)=(4711) already exists.")
    logs.get_logger("x").error("refused", error=error, payload=b"4711")
    outer = RuntimeError("outer\n[parameters: (4711,)]")
    try:
        raise outer from error
    except RuntimeError:
        logs.get_logger("x").exception("unforeseen")
    text = stream.getvalue()
    assert "4711" not in text
    first, second = written(stream)
    assert first["error"] == "ValueError: duplicate key value violates unique constraint"
    assert first["payload"] == "4 bytes"
    assert "RuntimeError: outer\ncaused by\nValueError: duplicate key" in second["traceback"]
    assert "test_logs.py" in second["traceback"]


def test_own_errors_say_their_cure(stream: io.StringIO) -> None:
    logs.configure("info", stream=stream)
    logs.get_logger("x").warning("publish_failed", error=StreamFullError("the stream is full", cure="Wait"))
    assert written(stream)[0]["error"] == "the stream is full. Wait"


def test_fields_never_replace_the_frame(stream: io.StringIO) -> None:
    logs.configure("info", stream=stream)
    logs.get_logger("x").info("event", level="deep", time="late")
    [event] = written(stream)
    assert (event["event"], event["level"], event["level_"], event["time_"]) == ("event", "info", "deep", "late")


def test_the_trace_is_named(stream: io.StringIO) -> None:
    logs.configure("info", stream=stream)
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("page") as span:
        logs.get_logger("x").info("inside")
    logs.get_logger("x").info("outside")
    inside, outside = written(stream)
    assert inside["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert "trace_id" not in outside


def test_what_is_long_is_cut(stream: io.StringIO) -> None:
    logs.configure("info", stream=stream)
    logs.get_logger("x").info("event", text="x" * 10_000_000)
    assert len(stream.getvalue()) < 3000, "and masking looked at no more of it than it must"
