"""The one-line form of a query, read and written: `beach + 0.5*image:cat.jpg - people`.

A query is terms with `+` or `-` between them; a sign may also open the line. They are operators only after
white space or a closing quote, so t-shirt, 3-4 and C++ are plain words, and `beach -people` works as in web
search. A term is

    a beach at dusk          text, up to the next operator
    text:"16:9 - a ratio"    text in quotes; the prefix is optional
    image:my pics/cat.jpg    a picture, by path
    id:holiday/cat.jpg       a stored item, by its id: "more like this"
    0.5*image:cat.jpg        any of these with a weight

Quotes, single or double, hold what would otherwise be read as an operator; a hybrid search looks for a quoted
text word for word. Inside them `\\"` is a quote; a backslash elsewhere is itself, so Windows paths need no
care (one before the closing quote is doubled).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias, cast

from clipkit.errors import QueryError

What: TypeAlias = Literal["text", "image", "vector", "id"]

Term: TypeAlias = tuple[What, str, float, bool]
"""What it is, its text, path or id, its weight, and whether it is a text in quotes."""

_OPERATOR = re.compile(r"\s[+-]")
_NUMBER = r"(?:[.,/]*[0-9][0-9.,/]*(?:e[+-]?[0-9]+)?|nan|inf(?:inity)?)"
_WEIGHT = re.compile(rf"({_NUMBER})\s*\*\s*", re.IGNORECASE)
_WEIGHT_BEHIND = re.compile(rf"\s\*\s*{_NUMBER}\Z", re.IGNORECASE)
_PREFIX = re.compile(r"(text|image|id):\s*", re.IGNORECASE)
_ODD_PREFIX = re.compile(r"(\w+):(?!\s|//)")  # not `note: this`, https://x
# What people write for the real ones. Anything else before a colon is text: "ratio 16:9", "time:noon".
_MEANT = {"img": "image", "pic": "image", "photo": "image", "picture": "image", "file": "image"}
_MEANT |= {"path": "image", "txt": "text", "item": "id", "ids": "id"}
_QUOTED = {quote: re.compile(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}", re.DOTALL) for quote in ("'", '"')}


def parse(line: str) -> list[Term]:
    """The terms that `line` says, at least one. Raises QueryError, which points at the character."""
    return list(_Parser(line).terms())


def write(terms: Iterable[Term]) -> str:
    """The line that `parse` reads as `terms`, with quotes only where they are needed."""
    line = ""
    for what, value, weight, quoted in terms:
        minus = math.copysign(1.0, weight) < 0
        if line:
            line += " - " if minus else " + "
        elif minus:
            line = "-"
        line += (f"{_number(abs(weight))}*" if abs(weight) != 1.0 else "") + _written(what, value, quoted)
    return line


def _number(weight: float) -> str:
    short = f"{weight:g}"
    return short if float(short) == weight else repr(weight)


def _written(what: What, value: str, quoted: bool) -> str:
    prefix = "" if what == "text" else f"{what}:"
    if what == "vector":  # has no one-line form; what is written is for people
        return prefix + value
    try:
        if parse(prefix + value) == [(what, value, 1.0, quoted)]:
            return prefix + value
    except QueryError:
        pass
    # Backslashes before a quote or at the end are doubled, others stay: see the rule on top.
    escaped = re.sub(r'(\\*)("|\Z)', lambda m: m[1] * 2 + m[2].replace('"', r"\""), value)
    return f'{prefix}"{escaped}"'


class _Parser:
    """Reads one line from left to right; `at` is the next character."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.at = 0

    def terms(self) -> Iterator[Term]:
        self._step(0)
        if self._ended():
            raise self._error("the query is empty: say what to look for", 0)
        yield self._term(self._sign() or 1.0)
        while not self._ended():
            sign = self._sign()
            if not sign:
                hint = "a weight stands before its term" if self.line[self.at] == "*" else "+ or - is missing"
                raise self._error(f"the quoted text ends before this: {hint}, or quote all of it", self.at)
            yield self._term(sign)

    def _sign(self) -> float:
        """Steps over the operator that stands here: 1.0 for +, -1.0 for -, 0.0 where there is none."""
        sign = {"+": 1.0, "-": -1.0}.get(self.line[self.at], 0.0)
        if sign:
            operator = self.at
            self._step(operator + 1)
            if self._ended() or self.line[self.at] in "+-":
                mark = self.line[operator]
                raise self._error(f"nothing stands behind this {mark}; quote a text that holds one", operator)
        return sign

    def _term(self, sign: float) -> Term:
        start = self.at
        weight = sign * self._weight()
        what, prefix = self._prefix()
        if self._ended() or (self.line[self.at] in "+-" and self.line[self.at - 1] != ":"):
            raise self._error(f"nothing stands behind {self.line[start : self.at].strip()}", start)
        quoted = self.line[self.at] in _QUOTED
        value = self._quoted() if quoted else self._bare(prefix)
        if not value.strip():
            raise self._error("these quotes hold nothing to look for", start)
        self._step(self.at)
        return what, value, weight, quoted and what == "text"

    def _weight(self) -> float:
        start, weight = self.at, 1.0
        while match := _WEIGHT.match(self.line, self.at):
            try:
                weight *= float(match[1])
            except ValueError:
                raise self._error(f"{match[1]} is no weight: a number such as 2 or 0.5 is", self.at) from None
            if not math.isfinite(weight):
                raise self._error("a weight must be a finite number", start)
            self.at = match.end()
        return weight

    def _prefix(self) -> tuple[What, bool]:
        if match := _PREFIX.match(self.line, self.at):
            self.at = match.end()
            return cast(What, match[1].lower()), True
        if match := _ODD_PREFIX.match(self.line, self.at):
            meant = _MEANT.get(match[1].lower()) or next(
                iter(difflib.get_close_matches(match[1].lower(), ("text", "image"), cutoff=0.8)), None
            )
            if meant:
                raise self._error(
                    f"{match[0]} is no prefix; did you mean {meant}: (or quote the text)", self.at
                )
        return "text", False

    def _quoted(self) -> str:
        mark = self.line[self.at]
        match = _QUOTED[mark].match(self.line, self.at)
        if not match:
            escaped = rf"\{mark}" in self.line[self.at :]
            why = f"; \\{mark} is a plain quote: double the backslash to close there" if escaped else ""
            raise self._error(f"this quote is never closed{why}", self.at)
        self.at = match.end()
        halved = lambda m: m[1][: len(m[1]) // 2] + m[2]  # noqa: E731
        return re.sub(rf"(\\+)({mark}|\Z)", halved, match[1])

    def _bare(self, prefix: bool) -> str:
        operator = _OPERATOR.search(self.line, self.at)
        first, end = self.at, operator.start() if operator else len(self.line)
        value = self.line[first:end].strip()
        self.at = end
        if not prefix:
            if behind := _WEIGHT_BEHIND.search(value):
                raise self._error(
                    "a weight stands before its term, as in 0.5*cat", first + behind.start() + 1
                )
            if value[0] == "(" and ")" not in value:
                raise self._error("parentheses do not group: give each term its sign and weight", first)
        return value

    def _ended(self) -> bool:
        return self.at >= len(self.line)

    def _step(self, to: int) -> None:
        """On to `to`, and over the white space there."""
        while to < len(self.line) and self.line[to].isspace():
            to += 1
        self.at = to

    def _error(self, message: str, column: int) -> QueryError:
        # One line, one column per character: a line break or tab would push the caret off its place.
        return QueryError(message, re.sub(r"\s", " ", self.line), column)
