"""Albums: searches with a name, refined by what was found good and bad. They fill themselves: an album is
searched anew each time it is looked at, and so holds what was indexed since.

Albums are kept beside the collection, in the table NAME.albums. They are the user's words, not what the
collection holds: a snapshot does not keep them, and to restore one leaves them as they are.

A query is kept as its line. Its pictures, whether uploads or files, are kept as pictures of `PICTURE_EDGE`
pixels, so that an album outlives the files and a change of the model. Vectors belong to one model, and are
not kept: an album names the items instead that they come from.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from clipkit.columns import at_least_1, cosine
from clipkit.errors import InvalidInput, did_you_mean
from clipkit.filters import all_of, id_in, self_contained
from clipkit.hiding import visible
from clipkit.hits import Hits, Kind
from clipkit.images import open_image
from clipkit.lance import Database, Table
from clipkit.query import Part, Query, expanded
from clipkit.refining import distinct, refined, vectors_of
from clipkit.resizing import thumbnail
from clipkit.schema import ALBUMS

if TYPE_CHECKING:
    from clipkit.collection import Collection
    from clipkit.encoder import ImageInput

LONGEST_NAME = 100  # characters: more would not fit a line of a list
PICTURE_EDGE = 512  # pixels: more than the models of the catalog look at
LARGEST_PICTURE = 1_000_000  # bytes, of an upload that is kept as it is
_BREAKS = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of surrogate pairs, line breaks


@dataclass(frozen=True, slots=True)
class Album:
    """A search with a name: a query in its one-line form, items found good and bad, and what filters it.

    `query` is a line, or a Query where it has pictures that are no files; None if the good items alone say
    what to look for. The other fields are those of `Collection.search`. The name, any text of one line and
    up to 100 characters, is kept in Unicode's normal form C, without blanks around it. `created` has a time
    zone.
    Raises InvalidInput, QueryError or FilterError for what could be no album of any collection.
    """

    name: str
    query: str | Query | None = None
    good: Sequence[str] = ()
    bad: Sequence[str] = ()
    where: str | None = None
    kind: Kind | None = None
    min_score: float | Literal["auto"] | None = None
    hybrid: bool = False
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        good, bad = distinct(self.good, self.bad)
        checked = {"name": _checked_name(self.name), "good": good, "bad": bad, "query": _plain(self.query)}
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.query is None and not self.good:
            raise InvalidInput(
                f"the album {self.name!r} has nothing to look for: give a query or a good item"
            )
        if self.where is not None:
            self_contained(self.where)
        if self.min_score not in (None, "auto"):
            cosine(self.min_score)
        if self.created.tzinfo is None:
            raise InvalidInput(f"the time {self.created} at which an album was created needs a time zone")

    @property
    def named(self) -> tuple[str, ...]:
        """The ids of all items that it names, good, bad or in its query."""
        parts = _parsed(self.query).parts if self.query else ()
        return tuple(dict.fromkeys([*self.good, *self.bad, *(p.value for p in parts if p.what == "id")]))


def save(collection: Collection, album: Album, *, replace: bool = False) -> Album:
    """The album as it is kept from now on: the pictures of its query by their pixels, no longer as files.

    With `replace`, in place of one of that name. Raises InvalidInput for a name that is taken, an id that is
    not there and a query with vectors; FilterError; and ImageError for a picture that cannot be read.
    """
    album = _with_pictures(collection, album)
    collection.count(kind=album.kind, where=album.where)
    collection.get(album.named)
    table = _database(collection).ensure(_table_name(collection), ALBUMS)
    row = pa.Table.from_pylist([_row(album)], schema=ALBUMS)
    if replace:
        table.upsert(row)
    elif not table.insert(row):
        raise InvalidInput(
            f"there is an album {album.name!r} already: take another name, or replace it (replace=True, "
            "--replace)"
        )
    return album


def albums(collection: Collection) -> list[Album]:
    """All albums of the collection, the oldest first."""
    return sorted(map(_album, _rows(collection)), key=lambda each: (each.created, each.name))


def named(collection: Collection, name: str) -> Album:
    """The album of that name. Raises InvalidInput if there is none."""
    wanted = _checked_name(name)
    found = _rows(collection, id_in([wanted]))
    if not found:
        raise _unknown(collection, wanted)
    return _album(found[0])


def delete(collection: Collection, name: str) -> None:
    """Give up an album; its items stay. Raises InvalidInput if there is none of that name."""
    wanted = _checked_name(name)
    table = _table(collection)
    if table is None or not table.delete_ids([wanted]):
        raise _unknown(collection, wanted)


def hits(collection: Collection, album: Album, *, k: int = 100) -> Hits:
    """What is in the album now, up to `k` items: first the good ones, then what its refined query finds.

    Good items are in it whatever its filter, kind and least score; bad ones never are, nor what is hidden
    (`hiding`). Either part is in the order of the search, and each score is the cosine similarity to the
    refined query. What the album names and is no longer there is passed over: `missing` tells. Raises
    InvalidInput if nothing is left of it to look for.
    """
    wanted = at_least_1(k, "k, the number of hits wanted,")
    gone = missing(collection, album)
    good, bad = ([id for id in ids if id not in gone] for ids in (album.good, album.bad))
    query = _without(album.query, gone)
    if query is None and not good:
        raise InvalidInput(
            f"of all that the album {album.name!r} looks for nothing is left in {collection.name!r} "
            f"({', '.join(map(repr, gone))}): save it again with another query or other good items"
        )
    looked_for = collection.embedded(refined(collection, query, good=good, bad=bad))  # once for both parts
    kept = _pinned(collection, looked_for, good, wanted) if good else None
    if kept is not None and len(kept) == wanted:
        return kept
    apart = f"NOT ({id_in([*good, *bad])})" if good or bad else None
    found = collection.search(
        looked_for,
        k=wanted - len(kept or ()),
        kind=album.kind,
        where=visible(collection, all_of(album.where and self_contained(album.where), apart)),
        min_score=album.min_score,
        hybrid=album.hybrid,
    )
    return found if kept is None else kept + found


def missing(collection: Collection, album: Album) -> list[str]:
    """The ids that the album names of items that are no longer there, or have no vector of the current model
    yet: `hits` passes them over."""
    rows = collection.to_arrow(columns=["id", "vector"], where=id_in(album.named))
    there = set(rows.filter(rows["vector"].is_valid())["id"].to_pylist())
    return [identity for identity in album.named if identity not in there]


def _pinned(collection: Collection, query: Query, good: Sequence[str], k: int) -> Hits:
    """The good items in the order of their scores; also those that the query names, as a search has not."""
    parts = [
        replace(part, what="vector", value=vectors_of(collection, [part.value])[0])
        if part.what == "id"
        else part
        for part in query.parts
    ]
    return collection.search(Query(tuple(parts)), k=k, where=visible(collection, id_in(good)))


def _without(query: str | Query | None, gone: Sequence[str]) -> Query | None:
    """The query without its parts that are items which are gone; None if no part is left."""
    if query is None:
        return None
    parts = tuple(part for part in _parsed(query).parts if part.what != "id" or part.value not in gone)
    return Query(parts) if parts else None


# --- what can be kept


def _checked_name(name: str) -> str:
    if isinstance(name, str):
        plain = unicodedata.normalize("NFC", name).strip()
        if 0 < len(plain) <= LONGEST_NAME and not any(unicodedata.category(c) in _BREAKS for c in plain):
            return plain
    raise InvalidInput(
        f"{name!r:.200} cannot name an album: it takes a text of one line, of 1 to {LONGEST_NAME} characters"
    )


def _parsed(query: str | Query) -> Query:
    return query if isinstance(query, Query) else Query.parse(query)


def _plain(query: str | Query | None) -> str | Query | None:
    """The query as its line, if that says all of it."""
    if query is None:
        return None
    parsed = _parsed(query)
    return str(parsed) if all(isinstance(part.value, str) for part in parsed.parts) else parsed


def _with_pictures(collection: Collection, album: Album) -> Album:
    """The album with each picture of its query as the file that is kept."""
    if album.query is None:
        return album
    parts = _parsed(album.query).parts
    if any(part.what == "vector" for part in parts):
        raise InvalidInput(
            f"the query of the album {album.name!r} has a vector, which only one model understands: name the "
            "items that it comes from as good, or with id: in the query"
        )
    kept = [replace(p, value=_kept_picture(collection, p.value)) if p.what == "image" else p for p in parts]
    return replace(album, query=Query(tuple(kept)))


def _kept_picture(collection: Collection, image: ImageInput) -> bytes:
    """A file of `image`, upright as the model wants it: these bytes if they are small, else a JPEG."""
    picture = open_image(expanded(image), upright=collection.encoder.upright, reduce_to=PICTURE_EDGE)
    if isinstance(image, bytes) and max(picture.size) <= PICTURE_EDGE and len(image) <= LARGEST_PICTURE:
        return image  # one that was kept before is not to lose by it
    return thumbnail(picture, edge=PICTURE_EDGE)


# --- rows of the table


def _table_name(collection: Collection) -> str:
    return f"{collection.name}.albums"


def _database(collection: Collection) -> Database:
    return Database(collection.db)


def _table(collection: Collection) -> Table | None:
    """The table; None as long as no album was ever saved."""
    return _database(collection).open(_table_name(collection))


def _rows(collection: Collection, where: str | None = None) -> list[dict[str, Any]]:
    table = _table(collection)
    rows: list[dict[str, Any]] = [] if table is None else table.read(ALBUMS.names, where).to_pylist()
    return rows


def _unknown(collection: Collection, name: str) -> InvalidInput:
    hint = (
        did_you_mean(name, [row["id"] for row in _rows(collection)]) or "There is none yet: save one first."
    )
    return InvalidInput(f"there is no album {name!r}. {hint}")


def _row(album: Album) -> dict[str, Any]:
    parts = _parsed(album.query).parts if album.query else ()
    pictures = [part for part in parts if part.what == "image"]
    return {
        "id": album.name,
        "created": album.created,
        "query": _line(part for part in parts if part.what != "image"),
        "pictures": [part.value for part in pictures],
        "weights": [part.weight for part in pictures],
        "good": album.good,
        "bad": album.bad,
        "condition": album.where,
        "kind": album.kind,
        "min_score": None if album.min_score is None else str(album.min_score),
        "hybrid": album.hybrid,
    }


def _album(row: Mapping[str, Any]) -> Album:
    parts = Query.parse(row["query"]).parts if row["query"] else ()
    pictures = zip(row["pictures"], row["weights"], strict=True)
    parts += tuple(Part("image", file, weight) for file, weight in pictures)
    least = row["min_score"]
    return Album(
        row["id"],
        Query(parts) if parts else None,
        good=row["good"],
        bad=row["bad"],
        where=row["condition"],
        kind=row["kind"],
        min_score="auto" if least == "auto" else None if least is None else float(least),
        hybrid=row["hybrid"],
        created=row["created"],
    )


def _line(parts: Iterable[Part]) -> str | None:
    kept = tuple(parts)
    return str(Query(kept)) if kept else None
