"""The words of a table: full-text indexes over its string columns, and how well rows fit by their words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from unicodedata import normalize

import pyarrow as pa
from lancedb.index import FTS
from lancedb.query import (
    BooleanQuery,
    FullTextOperator,
    FullTextQuery,
    MultiMatchQuery,
    Occur,
    PhraseQuery,
)

from clipkit.lance.table import Table

# ICU finds the words of Chinese, Japanese and Thai by itself; /split also parts IMG_beach.jpg. Words stay as
# they are but for case and accents: a stemmer knows one language and would blur names, stop words are names
# in another ("The Who", "It"), and meaning is the business of the vectors.
INDEX = FTS(
    base_tokenizer="icu/split",
    lower_case=True,
    ascii_folding=True,
    stem=False,
    remove_stop_words=False,
    max_token_length=255,  # as long as a file's name may be
    with_position=True,  # for phrases
)
COMMON_SHARE = 0.1  # a word in more of the rows than this says too little to find a row by itself,
COMMON_ROWS = (10, 1_000)  # but in so few rows it never is common, and in more always: that bounds the count
MOST_WORDS = 32  # of one query; each costs a look into the index


@dataclass(frozen=True, slots=True)
class Words:
    """A text to be found by its words. `phrase`: these words in this order. Rows with the words of one of
    negative weight are not found."""

    text: str
    weight: float = 1.0
    phrase: bool = False

    def terms(self) -> list[str]:
        """What stands between blanks, each once. A row has to hold all pieces of one, as of IMG_beach.jpg."""
        valid = self.text.encode(errors="ignore").decode()
        return list(dict.fromkeys(term for term in valid.split() if any(map(str.isalnum, term))))


class FullText:
    """Full-text indexes over the string columns of a table: built when words are first looked for, and from
    then on kept up to date by the table, also for columns that come later."""

    def __init__(self, table: Table, *, without: Collection[str] = ()) -> None:
        self._table = table
        self._without = without
        table.indexes["words"] = self

    def scores(self, words: Sequence[Words], limit: int, *, where: str | None) -> dict[str, float]:
        """BM25 by id of the up to `limit` rows that fit best. Rows that no index has yet are among them, and
        scored by their own statistics.

        A word is looked for in every column and counts where it fits best. A row fits if it has all phrases;
        where there are none, a rare word; where all are common, all of them (the rule of Lucene's
        CommonTermsQuery). So "a boat at the sea" finds boats, not each row with "at" and "the".
        """
        if not any(text.weight > 0 and text.terms() for text in words) or not self._table.count():
            return {}
        columns = self._ready()
        found = self._search(self._sought(words, columns), limit, where, ["id", "_score"])
        return dict(zip(found["id"].to_pylist(), found["_score"].to_pylist(), strict=True))

    def _sought(self, words: Sequence[Words], columns: list[str]) -> FullTextQuery:
        wanted = [text for text in words if text.weight > 0]
        heaviest = max(text.weight for text in wanted)
        phrases = [_holds(text, columns) for text in wanted if text.phrase and text.terms()]
        terms: dict[str, float] = {}
        for text in wanted:
            for term in text.terms():
                terms[term] = max(text.weight / heaviest, terms.get(term, 0.0))
        matches = {
            term: _match(term, columns, terms[term])
            for term in sorted(terms, key=lambda term: -terms[term])[:MOST_WORDS]
        }
        clauses = [(Occur.MUST, phrase) for phrase in phrases]
        rare = [] if phrases else [term for term in matches if self._is_rare(term, columns, len(matches))]
        if rare:
            clauses.append((Occur.MUST, _any(matches.pop(term) for term in rare)))
        clauses += [(Occur.SHOULD if clauses else Occur.MUST, match) for match in matches.values()]
        clauses += [
            (Occur.MUST_NOT, _holds(text, columns)) for text in words if text.weight < 0 and text.terms()
        ]
        return BooleanQuery(clauses)

    def _is_rare(self, term: str, columns: list[str], terms: int) -> bool:
        if terms == 1:
            return True
        least, most = COMMON_ROWS
        limit = max(least, min(most, int(COMMON_SHARE * self._table.count())))
        found = self._search(_match(term, columns), limit + 1, None, ["_score"])
        return bool(found.num_rows <= limit)

    def _search(self, query: FullTextQuery, limit: int, where: str | None, columns: list[str]) -> pa.Table:
        def search() -> pa.Table:
            found = self._table.handle.search(query, query_type="fts").select(columns).limit(limit)
            return (found if where is None else found.where(f"({where})")).to_arrow()

        return self._table.patiently(search, where)

    def _ready(self) -> list[str]:
        """The columns that are searched, each with its index."""
        if self._missing():
            self.build()
        return sorted(self._indexed())

    def is_due(self) -> bool:
        return bool(self._indexed()) and bool(self._missing())

    def build(self) -> None:
        for column in self._missing():
            self._table.write(partial(self._build, column))

    def _build(self, column: str) -> None:
        if column not in self._indexed():  # another process may have been faster
            self._table.handle.create_index(column, config=INDEX)

    def _missing(self) -> list[str]:
        known = self._indexed().union(self._without)
        return [
            field.name for field in self._table.schema if field.name not in known and _is_text(field.type)
        ]

    def _indexed(self) -> set[str]:
        indexes = self._table.patiently(self._table.handle.list_indices)
        return {index.columns[0] for index in indexes if index.index_type == "FTS"}


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _match(term: str, columns: list[str], weight: float = 1.0) -> FullTextQuery:
    boosts = [weight] * len(columns)
    return _any(
        MultiMatchQuery(form, columns, boosts=boosts, operator=FullTextOperator.AND) for form in _forms(term)
    )


def _forms(text: str) -> set[str]:
    """`text` with its accents as letters and as marks: the tokenizer parts words at marks, and file names of
    macOS are full of them."""
    return {normalize("NFC", text), normalize("NFD", text)}


def _any(queries: Iterable[FullTextQuery]) -> FullTextQuery:
    first, *others = queries
    return BooleanQuery([(Occur.SHOULD, query) for query in (first, *others)]) if others else first


def _holds(text: Words, columns: list[str]) -> FullTextQuery:
    """The rows that hold all words of a text; of a phrase, in their order."""
    if text.phrase:
        phrase = " ".join(text.terms())
        return _any(PhraseQuery(form, column) for form in _forms(phrase) for column in columns)
    return BooleanQuery([(Occur.MUST, _match(term, columns)) for term in text.terms()])
