"""Zero-shot tags: which labels of a vocabulary a picture or a text stands out for, by vectors alone.

Cosines of pictures and labels do not say by themselves whether a label holds: some labels are near to every
picture, some pictures near to every label, and the scale is each model's own. So a score is normalised twice,
as speaker verification does it (Auckenthaler, Carey and Lloyd-Thomas, Score normalization for
text-independent speaker verification systems, 2000): by what the label scores against other pictures, and by
what the picture scores against other labels.

1. From each score the label's baseline is taken: its `BASELINE_QUANTILE` over a sample of the collection,
   drawn towards the mean of all baselines where there are few pictures. A low quantile, not the mean, since a
   label may hold for most of a collection.
2. The picture's own cohort is the built-in vocabulary, scored and baselined in the same way. `strength` is
   how many of its standard deviations the score lies above its mean.

A label holds from a strength of `THRESHOLD` on. The cohort is the same whatever the vocabulary: so a label's
tags do not depend on which other labels there are, overlapping labels do not compete as in a softmax, and one
threshold does for all models. `tests/bench/labels.py` measures what it reaches.

Texts are tagged in the same way as pictures, which is what is spoken of here. Only what is said of a label is
another: that a text is about it, as in W. Yin, J. Hay, D. Roth, Benchmarking zero-shot text classification,
EMNLP 2019.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipkit.columns import at_least_1
from clipkit.encoder import Encoder, ImageInput, Vectors, batched
from clipkit.errors import InvalidInput
from clipkit.files import replaced
from clipkit.filters import all_of, id_in
from clipkit.folders import id_to_path
from clipkit.hits import Kind
from clipkit.probe import Probe
from clipkit.reports import Progress
from clipkit.searching import kind_is, kind_or_main
from clipkit.sidecars import SidecarReport, write_sidecars
from clipkit.vocabulary import FEW_TEMPLATES, TEXT_TEMPLATES, Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa

    from clipkit.collection import Collection

THRESHOLD = 3.5  # standard deviations; see the table that tests/bench/labels.py prints
CERTAIN = 0.5  # probability, of a probe's tags: more likely than all other classes together
TOP = 5  # tags of a picture at most; more are seldom right
BASELINE_QUANTILE = 0.25  # a label that holds for three quarters of the pictures is still found
SAMPLE = 4096  # pictures that baselines are taken from: a quantile moves little with more
SHRINKAGE = 20  # pictures that the mean of all baselines counts for, beside those of the label itself
COLUMN = "tags"
_TEMPLATES: dict[Kind, tuple[str, ...]] = {"image": FEW_TEMPLATES, "text": TEXT_TEMPLATES}
# One does for the cohort, whose labels count together only.
_COHORT_TEMPLATE: dict[Kind, str] = {"image": "a photo of {a}", "text": "a text about {}"}
_TOP = "top, the number of tags wanted,"
_AT_ONCE = 4096  # pictures whose scores are held: 16 MB for 1,000 labels

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tag:
    """A label that holds for a picture. `score` is the cosine similarity, `strength` by how many standard
    deviations the picture is nearer to the label than to others. Of a probe both are the probability."""

    label: str
    score: float
    strength: float


@dataclass(frozen=True, slots=True)
class Tagged:
    """A picture or text of a collection with its tags, the strongest first. `text` is that of a text."""

    id: str
    uri: str | None
    tags: tuple[Tag, ...]
    text: str | None = None


class Tagger:
    """A vocabulary ready to tag vectors of one model: those of pictures, or those of texts, as `kind` says.

    `templates` are what is said of a label, by default what is usual for the kind, as `prompts` has them.
    Keep one to tag many pictures: embedding the vocabulary takes the most time. Without pictures to take
    baselines from, as `calibrated` does, all labels count as equally near to pictures in general.
    """

    def __init__(
        self,
        encoder: Encoder,
        vocabulary: Vocabulary,
        *,
        kind: Kind = "image",
        templates: Sequence[str] | None = None,
    ) -> None:
        kind_is(kind)
        self.vocabulary = vocabulary
        self.kind = kind
        said = _TEMPLATES[kind] if templates is None else templates
        self._labels = vocabulary.vectors(encoder, said).T  # (dim, labels)
        self._cohort = Vocabulary.everyday().vectors(encoder, [_COHORT_TEMPLATE[kind]]).T  # (dim, cohort)
        self._label_baselines = np.zeros(self._labels.shape[1])
        self._cohort_baselines = np.zeros(self._cohort.shape[1])

    def calibrate(self, vectors: Vectors) -> None:
        """Take the baselines of labels from the vectors of some pictures, (n, dim). None change nothing."""
        if not len(vectors):
            return
        self._label_baselines = _baselines(vectors @ self._labels)
        self._cohort_baselines = _baselines(vectors @ self._cohort)

    def strengths(self, vectors: Vectors) -> Scores:
        """How far each picture stands out for each label, (n, labels), in standard deviations."""
        cohort = vectors @ self._cohort - self._cohort_baselines  # (n, cohort)
        mean, spread = cohort.mean(axis=1, keepdims=True), cohort.std(axis=1, keepdims=True)
        strengths: Scores = (vectors @ self._labels - self._label_baselines - mean) / np.maximum(spread, 1e-9)
        return strengths

    def tags(
        self, vectors: Vectors, *, threshold: float = THRESHOLD, top: int = TOP
    ) -> list[tuple[Tag, ...]]:
        """The up to `top` labels of each picture whose strength is at least `threshold`, strongest first."""
        wanted = at_least_1(top, _TOP)
        scores, strengths = vectors @ self._labels, self.strengths(vectors)
        order = np.argsort(-strengths, axis=1, kind="stable")[:, :wanted]
        names = self.vocabulary.names
        return [
            tuple(
                Tag(names[at], float(scores[row, at]), float(strengths[row, at]))
                for at in places
                if strengths[row, at] >= threshold
            )
            for row, places in enumerate(order)
        ]


def calibrated(
    collection: Collection, vocabulary: Vocabulary | None = None, *, kind: Kind = "image"
) -> Tagger:
    """A tagger for the model of `collection`, its baselines from a sample of the items of `kind` there."""
    tagger = Tagger(collection.encoder, vocabulary or Vocabulary.everyday(), kind=kind)
    tagger.calibrate(_sample(collection, kind))
    return tagger


def tag(
    collection: Collection,
    vocabulary: Vocabulary | Tagger | None = None,
    *,
    where: str | None = None,
    threshold: float = THRESHOLD,
    top: int = TOP,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Iterator[Tagged]:
    """The tags of all images of `collection` that pass `where`, image by image, in batches.

    Of a collection of texts alone they are those of its texts; `calibrated` makes a tagger for either kind.
    `vocabulary` is by default the built-in one. No picture is read: vectors are what the collection has. The
    baselines come from a sample of all items of the kind, so that a filter, or a later run for what was
    added, does not change what holds. Memory is bounded whatever the size of the collection.
    Raises InvalidInput or FilterError before the first item.
    """
    at_least_1(top, _TOP)
    given = vocabulary.kind if isinstance(vocabulary, Tagger) else None
    chosen = _chosen(collection, given, where)
    tagger = (
        vocabulary if isinstance(vocabulary, Tagger) else calibrated(collection, vocabulary, kind=chosen.kind)
    )
    return _tagged(collection, partial(tagger.tags, threshold=threshold, top=top), chosen, progress)


def classify(
    collection: Collection,
    probe: Probe,
    *,
    kind: Kind | None = None,
    where: str | None = None,
    threshold: float = CERTAIN,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Iterator[Tagged]:
    """The likeliest class of all items of a kind that pass `where`, if its probability is at least
    `threshold`; else no tag. Without `kind` they are images, or texts where there are no images. Raises
    CollectionMismatch for a probe of another model's vectors."""
    chosen = _chosen(collection, kind, where)
    probe.checked(collection.encoder)

    def choose(vectors: Vectors) -> list[tuple[Tag, ...]]:
        said = [(one.label, one.probability) for one in probe.predict(vectors)]
        return [(Tag(label, sure, sure),) if sure >= threshold else () for label, sure in said]

    return _tagged(collection, choose, chosen, progress)


def tag_image(
    encoder: Encoder,
    image: ImageInput,
    vocabulary: Vocabulary | None = None,
    *,
    threshold: float = THRESHOLD,
    top: int = TOP,
) -> tuple[Tag, ...]:
    """The tags of one picture, without a collection to take baselines from; for several, keep a `Tagger`."""
    tagger = Tagger(encoder, vocabulary or Vocabulary.everyday())
    return tagger.tags(encoder.encode_images([image]), threshold=threshold, top=top)[0]


def tag_text(
    encoder: Encoder,
    text: str,
    vocabulary: Vocabulary | None = None,
    *,
    threshold: float = THRESHOLD,
    top: int = TOP,
) -> tuple[Tag, ...]:
    """The tags of one text, without a collection to take baselines from; for several, keep a `Tagger`."""
    tagger = Tagger(encoder, vocabulary or Vocabulary.everyday(), kind="text")
    return tagger.tags(encoder.encode_texts([text]), threshold=threshold, top=top)[0]


def to_column(collection: Collection, tagged: Iterable[Tagged], *, column: str = COLUMN) -> int:
    """The number of items whose `column`, a list of strings that is made if need be, has their tags now.

    An item without tags gets an empty list, so that null tells those that were never tagged. Filters ask
    with array_has(tags, 'dog').
    """
    kind = collection.columns.get(column)
    if kind is None:
        collection.add_columns({column: list[str]})
    elif not kind.startswith("list<") or "string" not in kind:
        raise InvalidInput(f"the column {column!r} holds {kind}, not lists of strings: choose another name")
    return sum(
        collection.update(
            [one.id for one in batch], [{column: [tag.label for tag in one.tags]} for one in batch]
        )
        for batch in batched(tagged, _AT_ONCE)
    )


def to_sidecars(tagged: Iterable[Tagged]) -> SidecarReport:
    """What became of the XMP sidecars of tagged pictures: their labels are keywords there (`sidecars`).

    Keywords of others are kept, those of an earlier run that no longer hold go. Raises MissingExtra.
    """
    return write_sidecars((id_to_path(one.uri or one.id), [tag.label for tag in one.tags]) for one in tagged)


def to_csv(path: str | os.PathLike[str], tagged: Iterable[Tagged]) -> int:
    """The number of items written to a CSV file, which has a line for each tag: path or id, label, score
    and strength. The file appears, or is replaced, only when it is complete."""
    count = 0
    with replaced(path) as part, open(part, "w", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label", "score", "strength"))
        for one in tagged:
            count += 1
            where = id_to_path(one.uri or one.id)
            writer.writerows(
                (where, tag.label, f"{tag.score:.4f}", f"{tag.strength:.2f}") for tag in one.tags
            )
    return count


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Which items are tagged, and how many there were when they were counted."""

    kind: Kind
    where: str | None
    total: int


def _chosen(collection: Collection, kind: Kind | None, where: str | None) -> _Chosen:
    kind = kind_or_main(kind, collection.count)
    return _Chosen(kind, where, collection.count(kind=kind, where=where))


def _tagged(
    collection: Collection,
    choose: Callable[[Vectors], list[tuple[Tag, ...]]],
    chosen: _Chosen,
    progress: Callable[[Progress], None],
) -> Iterator[Tagged]:
    columns = ["id", "uri", "text", "vector"]
    where = all_of(kind_is(chosen.kind), chosen.where)
    done = 0
    for batch in collection.batches(columns=columns, where=where, batch_size=_AT_ONCE):
        batch = batch.filter(batch["vector"].is_valid())  # a new model may lack some still
        texts = batch["text"].to_pylist() if chosen.kind == "text" else [None] * len(batch)
        for identity, uri, text, tags in zip(
            batch["id"].to_pylist(), batch["uri"].to_pylist(), texts, choose(_vectors(batch)), strict=True
        ):
            yield Tagged(identity, uri, tags, text)
        done += len(batch)
        progress(Progress(done, max(done, chosen.total), 0))


def _sample(collection: Collection, kind: Kind) -> Vectors:
    """The vectors of up to SAMPLE items, the same ones each time, (n, dim)."""
    ids = np.sort(collection.to_arrow(columns=["id"], where=kind_is(kind))["id"].to_numpy())
    chosen = np.random.default_rng(0).permutation(len(ids))[:SAMPLE]
    some = collection.batches(columns=["id", "vector"], where=id_in(ids[chosen]), batch_size=_AT_ONCE)
    return np.concatenate([np.empty((0, collection.dim), np.float32), *map(_vectors, some)])


def _vectors(batch: pa.RecordBatch) -> Vectors:
    column = batch["vector"].drop_null()
    vectors: Vectors = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    return vectors


def _baselines(scores: NDArray[np.float32]) -> Scores:
    """What each label scores against pictures that it says nothing about, (labels,); `scores` (n, labels)."""
    own = np.quantile(scores, BASELINE_QUANTILE, axis=0)
    share = len(scores) / (len(scores) + SHRINKAGE)
    baselines: Scores = share * own + (1 - share) * own.mean()
    return baselines
