"""Tokens: files are read again when they change, and whoever cannot be told apart is nobody."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qupersync_extractor.interface.api import sessions
from qupersync_extractor.interface.api.tokens import Role, Tokens
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.settings.control import TokenSection

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ANN, BOB = "a-secret-of-ann-0001", "a-secret-of-bob-0002"


def written(path: Path, secret: str) -> Path:
    """The file, with another stamp than before however fast the clock is."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(secret, encoding="utf-8")
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {"ann": written(tmp_path / "ann", f"{ANN}\n"), "bob": written(tmp_path / "bob", BOB)}


@pytest.fixture
def tokens(files: dict[str, Path]) -> Tokens:
    roles = {"ann": "operator", "bob": "viewer"}
    return Tokens([TokenSection.model_validate({"name": n, "role": roles[n], "file": f}) for n, f in files.items()])


def test_a_secret_tells_who_it_is_and_what_they_may(tokens: Tokens) -> None:
    tokens.check()
    ann, bob = tokens.of(ANN), tokens.of(BOB)
    assert ann is not None
    assert bob is not None
    assert (ann.name, ann.role, bob.name, bob.role) == ("ann", Role.OPERATOR, "bob", Role.VIEWER)
    assert [tokens.of(wrong) for wrong in ("", ANN[:-1], ANN + "x", "ä", "\x00", ANN.upper())] == [None] * 6


def test_a_changed_file_is_in_force_at_once(tokens: Tokens, files: dict[str, Path]) -> None:
    assert tokens.of(ANN) is not None
    written(files["ann"], "another-secret-of-ann")

    assert tokens.of(ANN) is None
    assert tokens.of("another-secret-of-ann") is not None


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "is empty"), ("  \n", "is empty"), ("fifteen-chars-1", "fewer than 16"), ("a secret with blanks", "header")],
)
def test_a_file_without_a_secret_is_refused_with_its_place(
    tokens: Tokens, files: dict[str, Path], content: str, said: str
) -> None:
    written(files["bob"], content)
    with pytest.raises(ConfigurationError, match=said) as caught:
        tokens.check()
    assert caught.value.place == "control.tokens.1.file"
    assert "openssl rand" in caught.value.cure
    assert [token.name for token in tokens.in_force()] == ["ann"]


def test_a_file_that_is_missing_ends_its_token_until_it_is_back(tokens: Tokens, files: dict[str, Path]) -> None:
    files["bob"].unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        tokens.check()
    assert tokens.of(BOB) is None
    written(files["bob"], BOB)
    tokens.check()
    assert tokens.of(BOB) is not None


def test_a_secret_that_two_files_hold_is_nobodys(tokens: Tokens, files: dict[str, Path]) -> None:
    written(files["bob"], ANN)
    with pytest.raises(ConfigurationError, match="same secret") as caught:
        tokens.check()
    assert caught.value.place == "control.tokens.0.file, control.tokens.1.file"
    assert tokens.of(ANN) is None


def test_no_error_tells_a_secret(tokens: Tokens, files: dict[str, Path]) -> None:
    written(files["bob"], "short-secret")
    with pytest.raises(ConfigurationError) as caught:
        tokens.check()
    assert "short-secret" not in str(caught.value)
    ann = tokens.of(ANN)
    assert ANN not in repr(ann)


# ------------------------------------------------------------------------------------------------------------ sessions


def test_a_session_lasts_for_its_time(tokens: Tokens) -> None:
    ann = tokens.of(ANN)
    assert ann is not None
    session = sessions.begin(ann, now=NOW, lasts=timedelta(hours=1))

    assert sessions.token_of(session, tokens, now=NOW + timedelta(minutes=59)) == ann
    assert sessions.token_of(session, tokens, now=NOW + timedelta(minutes=61)) is None


def test_a_session_ends_with_its_token(tokens: Tokens, files: dict[str, Path]) -> None:
    ann = tokens.of(ANN)
    assert ann is not None
    session = sessions.begin(ann, now=NOW)
    written(files["ann"], "another-secret-of-ann")

    assert sessions.token_of(session, tokens, now=NOW) is None


def test_other_processes_with_the_same_files_accept_a_session(tokens: Tokens, files: dict[str, Path]) -> None:
    ann = tokens.of(ANN)
    assert ann is not None
    session = sessions.begin(ann, now=NOW)
    other = Tokens([TokenSection.model_validate({"name": "ann", "role": "viewer", "file": files["ann"]})])

    found = sessions.token_of(session, other, now=NOW)
    assert found is not None
    assert found.role is Role.VIEWER, "the role is what the configuration says now"


def test_a_session_cannot_be_forged_nor_changed(tokens: Tokens) -> None:
    bob = tokens.of(BOB)
    assert bob is not None
    session = sessions.begin(bob, now=NOW)
    name, until, nonce, signature = session.split(".")
    forged = [
        f"ann.{until}.{nonce}.{signature}",
        f"{name}.{int(until) + 1}.{nonce}.{signature}",
        f"{name}.{until}.{nonce}.{signature[:-1]}",
        f"{name}.{until}.{nonce}.{sessions.csrf_token(bob, session)}",
        *("", "...", "a.b.c.d", "x" * 10_000, f"{session}.", f"{session}ä", "bob.99999999999999999999.x.y"),
    ]
    assert [sessions.token_of(one, tokens, now=NOW) for one in forged] == [None] * len(forged)


def test_a_csrf_token_is_of_one_session(tokens: Tokens) -> None:
    ann = tokens.of(ANN)
    assert ann is not None
    one, other = sessions.begin(ann, now=NOW), sessions.begin(ann, now=NOW)
    given = sessions.csrf_token(ann, one)

    assert sessions.is_csrf_token(given, ann, one)
    assert not sessions.is_csrf_token(given, ann, other)
    assert not sessions.is_csrf_token("ä", ann, one)
