from datetime import UTC, datetime
from uuid import UUID

import pytest
from pydantic import BaseModel, ValidationError

from qupersync_shared.contracts.commands import (
    Accepted,
    ForkReport,
    ResendReply,
    ResendRequest,
    ResendStatus,
    SnapshotRequest,
)
from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat, lane_key, process_key
from qupersync_shared.contracts.subjects import (
    check_name,
    durable_name,
    lane_subject,
    stream_name,
    stream_subjects,
)
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName

AT = datetime(2025, 1, 1, tzinfo=UTC)
MESSAGES: list[BaseModel] = [
    ResendRequest(group="main", pipeline="orders", lane=1, log=2, from_sequence=3),
    ResendReply(status=ResendStatus.REWOUND, generation=4),
    ResendReply(status=ResendStatus.UNAVAILABLE),
    SnapshotRequest(group="main", pipeline="orders", log=2, reason="lane 1 has nothing to begin with"),
    ForkReport(group="main", pipeline="orders", lane=1, log=2, sequence=3, event_id=UUID(int=5)),
    Accepted(),
    LaneProgress(
        group="main", pipeline="orders", lane=1, lanes=2, log=3, sequence=4, event_id=UUID(int=6), applied_at=AT
    ),
    ProcessHeartbeat(role="loader", instance="a", started_at=AT, beat_at=AT, version="1", troubles={"": "tired"}),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_json_and_news_from_a_later_version(message: BaseModel) -> None:
    text = message.model_dump_json()
    later = text.removesuffix("}") + ',"added_later":1}'

    assert type(message).model_validate_json(text) == message
    assert type(message).model_validate_json(later) == message


def test_a_request_that_lacks_something_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="from_sequence"):
        ResendRequest.model_validate_json('{"group":"main","pipeline":"orders","lane":1,"log":2}')
    with pytest.raises(ValidationError, match="status"):
        ResendReply.model_validate_json('{"status":"perhaps"}')


def test_names_on_nats_are_frozen() -> None:
    group, pipeline, lane = GroupName("main"), PipelineName("orders"), Lane(3)

    assert stream_name(pipeline) == "qupersync_orders"
    assert lane_subject(pipeline, lane) == "qupersync.lane.orders.3"
    assert stream_subjects(pipeline) == "qupersync.lane.orders.*"
    assert durable_name(group, pipeline, lane) == "main_orders_3"
    assert lane_key(group, pipeline, lane) == "lane.main.orders.3"
    assert process_key("loader", "a") == "process.loader.a"


@pytest.mark.parametrize("name", ["", "Orders", "1st", "a-b", "a.b", "a b", "ä", "a" * 64, "_a", "a\n"])
def test_a_name_that_nats_or_postgresql_would_misread_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must match"):
        check_name(name)


def test_a_good_name_is_returned_as_it_came() -> None:
    assert check_name("a" + "_0" * 31) == "a" + "_0" * 31
