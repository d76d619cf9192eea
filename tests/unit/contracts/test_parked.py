"""The contract for what is parked: what belongs together, and what a request may choose."""

import pytest
from pydantic import ValidationError

from qupersync_shared.contracts.parked import Chosen, ParkedReply, ParkedRequest, kind_of_reason


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (
            'PostgreSQL refused: invalid input value for enum mood: "sad" (22P02)',
            'PostgreSQL refused: invalid input value for enum mood: "…" (22P02)',
        ),
        (
            'duplicate key value violates unique constraint "people_key2" (23505)',
            'duplicate key value violates unique constraint "people_key2" (23505)',
        ),
        ("the body has 12 rows, the envelope says 1,300", "the body has # rows, the envelope says #"),
        ("the body has schema 0f3c9a7b21, the envelope 99aa00ff11", "the body has schema #, the envelope #"),
        ("event 17 of lane 3 holds a key twice", "event # of lane # holds a key twice"),
        ("too large", "too large"),
    ],
)
def test_reasons_of_one_kind_differ_in_values_alone(reason: str, kind: str) -> None:
    assert kind_of_reason(reason) == kind
    assert kind_of_reason(kind) == kind


def test_ids_stand_for_themselves() -> None:
    with pytest.raises(ValidationError, match="ids stand for themselves"):
        Chosen(ids=("1",), reason="too large")


def test_every_question_is_told_by_what_it_asks() -> None:
    request = {"group": "main", "pipeline": "people", "wanted": {"ask": "list", "kind": "quarantine"}}
    assert ParkedRequest.model_validate(request).wanted.ask == "list"
    with pytest.raises(ValidationError):
        ParkedRequest.model_validate(request | {"wanted": {"ask": "everything", "kind": "quarantine"}})


def test_a_later_version_may_say_more() -> None:
    assert ParkedReply.model_validate({"total": 3, "of_a_later_version": True}).total == 3
