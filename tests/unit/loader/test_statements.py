"""The generated statements, where their text is what matters."""

from tests.conformance.loader.events import schema

from qupersync_loader.domain.pipeline import DeletePolicy
from qupersync_loader.infrastructure.postgres.statements import Statements

ROWS = schema(code="varchar", part="integer", name="varchar", doc="super", key=("code", "part"))


def made(deletes: DeletePolicy = DeletePolicy.APPLY) -> Statements:
    return Statements("public", 'odd "table"', ROWS, deletes)


def test_text_is_compared_as_bytes_so_that_no_collation_hides_a_change() -> None:
    upsert = made().upsert
    assert 't."name" COLLATE "C"' in upsert
    assert 'excluded."name" COLLATE "C"' in upsert
    assert 't."code" COLLATE "C"' in str(made().remove_range(after=2, upto=0, present=False))


def test_names_are_quoted() -> None:
    assert '"public"."odd ""table"""' in made().upsert


def test_staged_text_is_cast_where_binary_copy_cannot_carry_the_type() -> None:
    assert 's."doc"::jsonb' in made().upsert
    assert '"doc" text' in made().create_staging


def test_a_range_numbers_its_parameters_one_after_the_other() -> None:
    both = str(made().remove_range(after=2, upto=2, present=True))
    for number in range(1, 10):
        assert f"${number}" in both
    assert "$10" not in both
    assert "$6" not in str(made().remove_range(after=2, upto=0, present=False))


def test_policies() -> None:
    assert str(made().remove_gone).startswith("DELETE FROM")
    assert str(made(DeletePolicy.SOFT).remove_gone).startswith("UPDATE")
    assert made(DeletePolicy.KEEP).remove_gone is None
    assert made(DeletePolicy.KEEP).remove_range(after=2, upto=2, present=False) is None
    assert "_qs_deleted_at = NULL" in made(DeletePolicy.SOFT).upsert
    assert "_qs_deleted_at" not in made().upsert
