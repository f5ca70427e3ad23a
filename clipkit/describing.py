"""Bring what files say of pictures into a collection: captions as texts, values into the user's columns.

A caption is an item of kind "text" whose `image_id` is the picture's. Its id is the picture's with the origin
behind it: /photos/cat.jpg#caption, /photos/cat.jpg#caption-2. The picture's own text is all its captions.
A column that the collection lacks is made: who puts a metadata.csv beside pictures wants to filter by what it
says, and a column costs nothing where it is null.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from clipkit.cells import common_kind, fitted, kind_of
from clipkit.columns import fields_of
from clipkit.descriptions import MAX_CAPTIONS, Broken, Description, Said, distinct
from clipkit.encoder import Encoder, TextCutWarning, batched
from clipkit.errors import ClipkitError, InvalidInput
from clipkit.filters import all_of, id_in
from clipkit.schema import BUILTIN_COLUMNS, ItemRow
from clipkit.store import Store

Origin = Literal["caption", "metadata"]

AT_ONCE = 512  # descriptions written together: a few seconds' work, which is what a crash costs
MAX_NEW_COLUMNS = 100  # from one source: more are no columns, but data
MAX_BROKEN = 20  # of one source, told one by one


@dataclass(slots=True)
class Described:
    """What came of a source: captions added or changed, the pictures it spoke of, what could not be used."""

    captions: int = 0
    spoken: set[str] = field(default_factory=set)
    broken: list[Broken] = field(default_factory=list)
    more_broken: int = 0

    def note(self, broken: Broken) -> None:
        if len(self.broken) < MAX_BROKEN:
            self.broken.append(broken)
        else:
            self.more_broken += 1

    def all_broken(self) -> list[Broken]:
        more = Broken("more", f"{self.more_broken} more places could not be used")
        return [*self.broken, more] if self.more_broken else self.broken


def describe(
    store: Store,
    encoder: Callable[[], Encoder],
    said: Callable[[], Iterable[Said]],
    *,
    origin: Origin,
    spoken: set[str],
    is_expected: Callable[[str], bool],
) -> Described:
    """What came of all that a source says, which is gone through twice: for the types, and for the values.

    What it says of a picture in `spoken` is added to what another source said. A picture that is not in the
    collection is reported unless it `is_expected` to be known from elsewhere.
    """
    done = Described(spoken=spoken)
    columns = _columns(store, said(), done)
    for batch in batched(_sound(said(), done), AT_ONCE):
        there = _uris(store, [each.image_id for each in batch])
        for each in batch:
            if each.image_id not in there and not is_expected(each.image_id):
                done.note(Broken(each.place, f"there is no picture {each.image_id}"))
        known = [each for each in batch if each.image_id in there]
        write_captions(store, encoder, known, origin=origin, done=done)
        _write_values(store, known, columns, done)
    return done


def write_captions(
    store: Store,
    encoder: Callable[[], Encoder],
    batch: Sequence[Description],
    *,
    origin: Origin,
    done: Described,
) -> None:
    """Let the captions of that origin be exactly those given. Only what differs is embedded and written."""
    uris = _uris(store, [each.image_id for each in batch])
    stored: dict[str, dict[str, str]] = {image: {} for image in uris}
    for row in store.captions_of(uris).to_pylist():
        if re.fullmatch(rf"#{origin}(-\d+)?", row["id"].removeprefix(row["image_id"])):
            stored[row["image_id"]][row["id"]] = row["text"]
    rows, surplus = [], []
    for image, captions in _merged(batch, stored, done.spoken).items():
        wanted = {caption_id(image, origin, n): text for n, text in enumerate(captions)}
        surplus += [id for id in stored[image] if id not in wanted]
        rows += [
            ItemRow(id, "text", uris[image], text, image_id=image)
            for id, text in wanted.items()
            if stored[image].get(id) != text
        ]
    if rows:
        done.captions += _write(store, encoder(), rows, done)
    store.items.delete_ids(surplus)
    store.join_captions(uris)


def caption_id(image: str, origin: Origin, n: int) -> str:
    """The id of the n-th caption of an image, counted from 0."""
    return f"{image}#{origin}" if n == 0 else f"{image}#{origin}-{n + 1}"


def _merged(
    batch: Sequence[Description], stored: Mapping[str, Mapping[str, str]], spoken: set[str]
) -> dict[str, tuple[str, ...]]:
    """The captions that each image is to have, in their order: a source may have several rows for one."""
    captions: dict[str, tuple[str, ...]] = {}
    for each in batch:
        if each.image_id in stored:
            before = captions.get(each.image_id, ())
            if each.image_id in spoken and each.image_id not in captions:
                before = tuple(stored[each.image_id].values())
            captions[each.image_id] = distinct([*before, *each.captions])[:MAX_CAPTIONS]
            spoken.add(each.image_id)
    return captions


def _write(store: Store, encoder: Encoder, rows: list[ItemRow], done: Described) -> int:
    """How many of the texts were embedded and written; those that the model cannot take are reported."""
    if "text" not in encoder.modalities:
        return 0
    while rows:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TextCutWarning)  # long captions are usual in data sets
                vectors = encoder.encode_texts([row.text or "" for row in rows])
        except InvalidInput as error:
            if error.position is None:
                raise
            lost = rows.pop(error.position)
            done.note(Broken(lost.id, f"the caption of {lost.image_id} cannot be embedded: {error.reason}"))
        else:
            store.write(rows, vectors, made_by=encoder)
            break
    return len(rows)


def _uris(store: Store, images: Sequence[str]) -> dict[str, str | None]:
    """The URI of each of these images that are in the collection."""
    stored = store.items.read(["id", "uri"], all_of("kind = 'image'", id_in(set(images))))
    return dict(zip(stored["id"].to_pylist(), stored["uri"].to_pylist(), strict=True))


def _sound(said: Iterable[Said], done: Described) -> Iterator[Description]:
    """The descriptions that can be used; what is broken is noted."""
    for each in said:
        if isinstance(each, Broken):
            done.note(each)
            continue
        try:
            "\n".join((each.image_id, *each.captions)).encode()
        except UnicodeEncodeError:
            done.note(Broken(each.place, "is not valid Unicode: it holds a lone surrogate"))
        else:
            yield each


# --- values for columns


def _columns(store: Store, said: Iterable[Said], done: Described) -> dict[str, pa.Field]:
    """The column for each name that the source has for one; those that are new are added."""
    kinds: dict[str, pa.DataType | None] = {}
    for each in said:
        for name, value in each.values.items() if isinstance(each, Description) else ():
            if name in kinds or len(kinds) < MAX_NEW_COLUMNS + len(BUILTIN_COLUMNS):
                kinds[name] = common_kind(kinds.get(name), kind_of(value))
    known = {field.name.lower(): field for field in store.own_fields()}
    chosen: dict[str, pa.Field] = {}
    for name, kind in kinds.items():
        column = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
        if column.lower() in known:
            chosen[name] = known[column.lower()]
        elif kind is not None and column.lower() not in BUILTIN_COLUMNS:  # the picture itself tells those
            try:
                chosen[name] = known[column.lower()] = _added(store, column, kind)
            except InvalidInput as error:
                done.note(Broken(f"column {column}", f"the column {name!r} is left out: {error.reason}"))
    return chosen


def _added(store: Store, name: str, kind: pa.DataType) -> pa.Field:
    (new,) = fields_of({name: kind})
    try:
        store.items.add_columns([new])
    except ClipkitError:
        there = {field.name: field for field in store.own_fields()}
        if name not in there:
            raise
        return there[name]  # another process was faster
    return new


def _write_values(
    store: Store, batch: Sequence[Description], columns: Mapping[str, pa.Field], done: Described
) -> None:
    """Let the columns have what the descriptions say; only rows that differ are written."""
    if not columns:
        return
    given: dict[str, dict[str, Any]] = {}
    for each in batch:
        values = given.setdefault(each.image_id, {})
        for name, value in each.values.items():
            column = columns.get(name)
            if column is None:
                continue
            try:
                values[column.name] = fitted(value, column.type)
            except ValueError as error:
                problem = f"{value!r:.80} does not fit the column {column.name} ({column.type}): {error}"
                done.note(Broken(each.place, problem))
    schema = pa.schema([store.items.schema.field("id"), *{f.name: f for f in columns.values()}.values()])
    stored = store.items.read(schema.names, id_in(given)).to_pylist()
    rows = [row | given[row["id"]] for row in stored]
    changed = [row for row, before in zip(rows, stored, strict=True) if row != before]
    store.items.update(pa.Table.from_pylist(changed, schema=schema))
