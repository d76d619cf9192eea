"""What the stand-in does to the text of a statement: Redshift's spellings become PostgreSQL's, or a refusal.

Pure functions over the text. A small tokenizer keeps string literals, quoted names and comments apart from words.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<blank>\s+|--[^\n]*|/\*.*?\*/)
  | (?P<literal>[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<word>[^\W\d][\w$]*)
  | (?P<number>\d[\w.]*|\$\d+)
  | (?P<operator><=|>=|<>|!=|::|.)
    """,
    re.VERBOSE | re.DOTALL,
)

# Settings of Redshift that PostgreSQL does not know. They are kept as custom settings, and do nothing but one.
_SETTINGS = frozenset(
    {
        "enable_case_sensitive_identifier",
        "enable_case_sensitive_super_attribute",
        "enable_result_cache_for_session",
        "json_serialization_enable",
        "json_serialization_parse_nested_strings",
        "query_group",
        "timezone_abbreviations_redshift",
        "wlm_query_slot_count",
    }
)
_PREFIX = "standin."
_BARE_DATE_PART = frozenset({"dateadd", "datediff", "date_add", "date_diff", "date_part"})
_NOT_A_FUNCTION = frozenset(
    [
        "all",
        "and",
        "any",
        "between",
        "by",
        "case",
        "else",
        "from",
        "having",
        "in",
        "is",
        "not",
        "on",
        "or",
        "row",
        "select",
        "some",
        "then",
        "using",
        "values",
        "when",
        "where",
    ]
)
# Functions whose names mean something else to PostgreSQL, or are syntax there.
_RENAMED = {"nvl": "coalesce", "json_serialize": "standin_json_serialize"}
_ORDER = frozenset({"<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error that Redshift answers with where PostgreSQL would not."""

    code: str
    message: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A statement for PostgreSQL; `case_sensitive` is set when it changes how names are folded from now on."""

    text: str
    case_sensitive: bool | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str

    @property
    def lower(self) -> str:
        return self.text.lower() if self.kind == "word" else self.text


@functools.lru_cache(maxsize=2048)
def for_postgres(text: str, *, case_sensitive: bool) -> Accepted | Refusal:
    """Rewrite a statement of Redshift for PostgreSQL, or refuse what Redshift refuses."""
    tokens = [
        _Token(str(match.lastgroup if match.lastgroup != "tag" else "literal"), match.group())
        for match in _TOKEN.finditer(text)
    ]
    solid = [index for index, token in enumerate(tokens) if token.kind != "blank"]
    words = [tokens[index] for index in solid]
    refusal = _refusal(words)
    if refusal is not None:
        return refusal
    setting = _setting(words)
    if setting is not None:
        return setting
    replaced = [token.text for token in tokens]
    for place, index in enumerate(solid):
        replaced[index] = _spelling(words, place, case_sensitive=case_sensitive)
    return Accepted(text="".join(replaced))


def _at(words: Sequence[_Token], place: int) -> str:
    return words[place].lower if 0 <= place < len(words) else ""


def _spelling(words: Sequence[_Token], place: int, *, case_sensitive: bool) -> str:
    token = words[place]
    before, after = _at(words, place - 1), _at(words, place + 1)
    if token.kind == "quoted":
        return token.text if case_sensitive else token.text.lower()
    if token.kind != "word" or before == ".":
        return token.text
    if token.lower == "sysdate" and after not in {"(", "."} and before not in {"as", '"'}:
        return "sysdate()"
    if after == "(" and token.lower in _RENAMED:
        return _RENAMED[token.lower]
    if before == "(" and after == "," and _at(words, place - 2) in _BARE_DATE_PART:
        return f"'{token.lower}'"
    return token.text


def _setting(words: Sequence[_Token]) -> Accepted | None:
    """SET, SHOW and RESET of settings that only Redshift knows."""
    verb = _at(words, 0)
    if verb not in {"set", "show", "reset"}:
        return None
    place = 2 if _at(words, 1) in {"session", "local"} else 1
    name = _at(words, place).strip('"')
    if name not in _SETTINGS:
        return None
    folding = name == "enable_case_sensitive_identifier"
    if verb == "show":
        return Accepted(text=f"SELECT coalesce(current_setting('{_PREFIX}{name}', true), '') AS {name}")
    if verb == "reset":
        return Accepted(text=f"RESET {_PREFIX}{name}", case_sensitive=False if folding else None)
    value = " ".join(token.text for token in words[place + 2 :]).rstrip("; ")
    scope = f"{_at(words, 1)} " if place == 2 else ""  # noqa: PLR2004 - SET LOCAL name
    on = value.strip("'\"").lower() in {"on", "true", "1", "yes"}
    return Accepted(text=f"SET {scope}{_PREFIX}{name} TO {value}", case_sensitive=on if folding else None)


def _refusal(words: Sequence[_Token]) -> Refusal | None:
    for place, token in enumerate(words):
        if token.text in _ORDER and _is_row(words, place - 1, step=-1) and _is_row(words, place + 1, step=1):
            return Refusal(
                code="0A000",
                message=f"row-value comparison with {token.text} is not supported",
                detail="Compare column by column: a >= x AND (a > x OR (a = x AND b > y)).",
            )
        pair = (token.lower, _at(words, place + 1)) if token.kind == "word" else ("", "")
        if pair in {("distinct", "on"), ("on", "conflict"), ("filter", "(")} or pair[0] in {"lateral", "returning"}:
            return Refusal(code="42601", message=f'syntax error at or near "{token.text}"')
    return None


def _is_row(words: Sequence[_Token], place: int, *, step: int) -> bool:
    """Whether a row value like `(a, b)` begins (step 1) or ends (step -1) at `place`."""
    if step == 1 and _at(words, place) == "row":
        place += 1
    opening, closing = ("(", ")") if step == 1 else (")", "(")
    if _at(words, place) != opening:
        return False
    depth, commas = 0, 0
    while 0 <= place < len(words):
        text = words[place].text
        depth += (text == opening) - (text == closing)
        commas += text == "," and depth == 1
        if depth == 0:
            break
        place += step
    if step == 1 or not commas:
        return bool(commas)
    left = words[place - 1] if place else None
    return left is None or left.kind != "word" or left.lower in _NOT_A_FUNCTION
