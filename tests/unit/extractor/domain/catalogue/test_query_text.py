"""Runs of one query have one hash, other queries another."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupersync_extractor.domain.catalogue import RedshiftQuery, normalised, query_hash


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("SELECT 1", "select ?"),
        ("  SELECT\n\ta ,  b\r\nFROM t ;  ", "select a,b from t"),
        ("select A from Schema.Table2 where x=-1.5e3", "select a from schema.table2 where x=?"),
        ("SELECT 'it''s', 'a\\'b', E'\\n', x'ff', n'ä'", "select ?"),
        ('SELECT "Mixed ""Case"" , Name" FROM "T"', 'select "Mixed ""Case"" , Name" from "T"'),
        ("SELECT a -- 'x' 1\nFROM t /* b /* c */ 2 */ WHERE y", "select a from t where y"),
        ("SELECT a\\nFROM t\\r\\n\\tWHERE b -- gone\\nAND c", "select a from t where b and c"),
        ("SELECT a FROM t WHERE id IN (1, 2,\n3)", "select a from t where id in(?)"),
        ("SELECT a FROM t WHERE id IN ('x')", "select a from t where id in(?)"),
        ("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')", "insert into t values(?)"),
        ("SELECT t1.c2, $1, 5 FROM t1", "select t1.c2,$1,? from t1"),
        ("SELECT .5, 1., 0x1f", "select ?,0x1f"),
        ("SELECT a FROM t WHERE id IN (-1, 2,\\n-3.5) AND b - 1 > +2", "select a from t where id in(?)and b-?>?"),
        ("SELECT substr(a, 1, 2), 'x' || b", "select substr(a,?),?||b"),
        ("SELECT a FROM t WHERE x = 'cut off in the mid", "select a from t where x=?"),
        ("SELECT a FROM t WHERE x = 'cut off at an escape\\", "select a from t where x=?"),
        ("SELECT a FROM t /* cut off", "select a from t"),
        ('SELECT "cut off', 'select "cut off'),
        ("SELECT 1;;; ", "select ?"),
        ("", ""),
    ],
)
def test_what_makes_two_runs_differ_is_taken_away(text: str, shape: str) -> None:
    assert normalised(text) == shape


def test_the_hash_is_md5_of_the_normalised_text() -> None:
    text = "SELECT  *  FROM t WHERE id = 42 -- by hand"
    expected = hashlib.md5(b"select*from t where id=?", usedforsecurity=False).hexdigest()
    assert query_hash(text) == RedshiftQuery(text).hash == expected
    assert RedshiftQuery(text).normalised == "select*from t where id=?"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT a FROM t", "SELECT b FROM t"),
        ('SELECT "a" FROM t', 'SELECT "A" FROM t'),
        ("SELECT a FROM t WHERE x > 1", "SELECT a FROM t WHERE x < 1"),
        ("SELECT a, b", "SELECT ab"),
    ],
)
def test_other_queries_have_another(one: str, other: str) -> None:
    assert query_hash(one) != query_hash(other)


LITERALS = st.one_of(
    st.integers(min_value=0).map(str),
    st.text(st.characters(exclude_characters="'\\", exclude_categories=["Cs"])).map(lambda text: f"'{text}'"),
)
BLANKS = st.sampled_from([" ", "\n", "\t ", " -- note\n", "/* note */", "\\n", " /* a /* b */ c */ "])


@given(one=LITERALS, other=LITERALS, blanks=st.lists(BLANKS, min_size=4, max_size=4), upper=st.booleans())
def test_literals_blanks_comments_and_case_do_not_count(one: str, other: str, blanks: list[str], upper: bool) -> None:
    words = ["SELECT", "a", "FROM", "t"] if upper else ["select", "A", "from", "T"]
    text = "".join(word + blank for word, blank in zip(words, blanks, strict=True))
    assert query_hash(f"{text}WHERE x = {one}") == query_hash(f"select a from t where x={other}")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_has_a_hash_and_normalising_again_changes_nothing_that_counts(text: str) -> None:
    shape = normalised(text)
    assert len(query_hash(text)) == 32
    assert len(shape) <= len(text) + text.count("'") * 2 + 2


@pytest.mark.parametrize(
    "piece",
    ["'", "''", "\\", "'\\", "/*", "*/", "/**/", '"', "--", "1.", "((", "?,", "a ", "1 ", "1,", "1 , ", "'a', "],
)
def test_no_text_takes_long(piece: str) -> None:
    # A pattern that tried again from each place would need hours for these, and the time limit of the suite ends it.
    normalised(piece * 200_000)
    normalised("x" + piece * 200_000 + "x")


def test_half_of_a_surrogate_is_hashed_too() -> None:
    assert len(query_hash("SELECT \ud800")) == 32
