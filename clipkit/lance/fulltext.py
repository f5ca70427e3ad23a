"""The words of a table: full-text indexes over its string columns, and how well rows fit by their words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log1p
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

from clipkit.filters import all_of, id_in
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
RARE_SHARE = 0.1  # of the rows; a word that more of them have says too little to find a row by itself,
RARE_ROWS = (10, 1_000)  # but in so few rows it is always rare, and in more never: that bounds the work
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

    def scores(
        self, words: Sequence[Words], *, near: Sequence[str], limit: int, where: str | None
    ) -> dict[str, float]:
        """How well rows fit by their words, by id; rows that no index has yet are among them.

        A row fits if it holds one of the rare words, in any column. Each counts by its weight and by how rare
        it is, ln(1 + N / n) for n of N rows (K. Spärck Jones, "A statistical interpretation of term
        specificity", Journal of Documentation 28, 1972). How often a row says it, and in how many words, is
        noise in captions and names: rows with the same words score the same. Common words then count nothing:
        "a boat at the sea" finds boats, not what has "at" and "the". Where all are common, rows that hold all
        of them fit alike, and so do those that hold all phrases, if there are any: up to `limit` of all rows,
        and any of those `near`.
        """
        wanted = [text for text in words if text.weight > 0 and text.terms()]
        rows = self._table.count(where) if wanted else 0
        if not rows:
            return {}
        columns = self._ready()
        without = [_holds(text, columns) for text in words if text.weight < 0 and text.terms()]

        def holding(needed: Sequence[FullTextQuery], most: int, condition: str | None = where) -> list[str]:
            clauses = [(Occur.MUST, query) for query in needed] + [
                (Occur.MUST_NOT, query) for query in without
            ]
            return self._ids(BooleanQuery(clauses), most, condition)

        needed = [_holds(text, columns) for text in wanted if text.phrase]
        if not needed:
            weights = _weights(wanted)
            rare = max(RARE_ROWS[0], min(RARE_ROWS[1], int(RARE_SHARE * rows)))
            held = {term: holding([_match(term, columns)], rare + 1) for term in weights}
            if any(len(ids) <= rare for ids in held.values()):
                return _summed({term: ids for term, ids in held.items() if len(ids) <= rare}, weights, rows)
            needed = [_match(term, columns) for term in weights]
        found = holding(needed, limit)
        if len(found) == limit:
            found += holding(needed, len(near), all_of(where, id_in(near)))
        return dict.fromkeys(found, 1.0)

    def _ids(self, query: FullTextQuery, most: int, where: str | None) -> list[str]:
        """The ids of up to `most` rows that fit."""

        def search() -> pa.Table:
            found = self._table.handle.search(query, query_type="fts").select(["id", "_score"]).limit(most)
            return (found if where is None else found.where(f"({where})")).to_arrow()

        ids: list[str] = self._table.patiently(search, where)["id"].to_pylist()
        return ids

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


def _weights(wanted: Sequence[Words]) -> dict[str, float]:
    """The words to look for, the heaviest first, each with its weight as a share of the largest."""
    heaviest = max(text.weight for text in wanted)
    weights: dict[str, float] = {}
    for text in sorted(wanted, key=lambda text: -text.weight):
        for term in text.terms():
            weights.setdefault(term, text.weight / heaviest)
    return dict(list(weights.items())[:MOST_WORDS])


def _summed(held: Mapping[str, list[str]], weights: Mapping[str, float], rows: int) -> dict[str, float]:
    """The weight of each row, by the rare words that it holds."""
    scores: dict[str, float] = {}
    for term, ids in held.items():
        for identity in ids:
            scores[identity] = scores.get(identity, 0.0) + weights[term] * log1p(rows / len(ids))
    return scores


def _match(term: str, columns: list[str]) -> FullTextQuery:
    return _any(MultiMatchQuery(form, columns, operator=FullTextOperator.AND) for form in _forms(term))


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
