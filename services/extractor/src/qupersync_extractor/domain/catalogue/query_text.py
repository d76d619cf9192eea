"""Query texts without what makes two runs of one query differ."""

import hashlib
import re
from typing import Final

# Comments nest, which a regular expression follows only so far; deeper ones stay in the text.
_COMMENTS_DEEP: Final = 4


def _comment(depth: int) -> str:
    inner = rf"| {_comment(depth - 1)}" if depth > 1 else ""
    return rf"/\* (?: [^*/] | \*(?!/) | /(?!\*) {inner} )*+ (?: \*/ | \Z )"


_BREAK: Final = r"(?: \s | \\[nrt] )"  # system views write the line ends and tabs of a query as two letters
_LITERAL: Final = r"""(?:
    (?: \b [eEnNxXbB] )? ' (?: [^'\\]++ | '' | \\.? )*+ '?
    | (?<! [\w$.] ) (?: \d++ (?: \. \d*+ )? | \. \d++ ) (?: [eE] [+-]? \d++ )? (?! \w )
)"""

# A text that was cut in the middle of a literal or a comment is literal or comment to its end. All repetitions are
# possessive: no text takes more than one pass. A list of literals is one token, however long: each costs a call.
_TOKEN: Final = re.compile(
    rf"""
      (?P<literals>  {_LITERAL} (?: {_BREAK}*+ , {_BREAK}*+ {_LITERAL} )*+ )
    | (?P<quoted>    " (?: [^"]++ | "" )*+ "? )
    | (?P<blank>     (?: {_BREAK} | -- (?: (?! \\[nr] ) [^\r\n] )*+ | {_comment(_COMMENTS_DEEP)} )++ )
    """,
    re.VERBOSE | re.DOTALL,
)
_QUOTED: Final = re.compile(r'("(?:[^"]++|"")*+"?)')
_AROUND_SIGNS: Final = re.compile(r" ?([^\w\s\"?$.]) ?")
_NEGATIVE: Final = re.compile(r"(?<=[(,=<>])[+-]\?")
_LIST: Final = re.compile(r"\?(?:,\?)++")
_ROWS: Final = re.compile(r"\(\?\)(?:,\(\?\))++")


def normalised(text: str) -> str:
    """The text with `?` for each literal and each list of them, in lower case, without comments and needless blanks.

    Quoted identifiers stay as they are. Runs of one query that differ in nothing else become the same text.
    """
    shape = _TOKEN.sub(_replaced, text)
    if '"' in shape:
        pieces = _QUOTED.split(shape)
        shape = "".join(one if place % 2 else _folded(one) for place, one in enumerate(pieces))
    else:
        shape = _folded(shape)
    shape = _LIST.sub("?", _NEGATIVE.sub("?", shape))
    return _ROWS.sub("(?)", shape).strip().rstrip("; ")


def query_hash(text: str) -> str:
    """MD5 of the normalised text as 32 hexadecimal digits: it groups runs of a query, and protects nothing."""
    return hashlib.md5(normalised(text).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def _replaced(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "quoted":
            return token.group()
        case "blank":
            return " "
        case _:
            return "?"


def _folded(piece: str) -> str:
    return _AROUND_SIGNS.sub(r"\1", piece.lower())
