"""`clipkit tag`, `clipkit train` and `clipkit classify`: labels for pictures and texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.machine import complete_model
from clipkit.cli.output import note, plural, print_facts, print_json, print_table, progress_bar
from clipkit.cli.searching import KindChoice, chosen
from clipkit.cli.session import Session
from clipkit.errors import InvalidInput

if TYPE_CHECKING:
    from clipkit.collection import Collection
    from clipkit.hits import Kind
    from clipkit.labels import Tagged
    from clipkit.probe import Probe
    from clipkit.reports import Failure, Progress
    from clipkit.vocabulary import Vocabulary

LABELS_SHOWN = 20
FAILURES_SHOWN = 5
_NOUNS = {"image": "picture", "text": "text"}

_Model = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="The model: see clipkit models.", autocompletion=complete_model),
]


class Target(StrEnum):
    """Where tags go."""

    column = "column"
    csv = "csv"
    xmp = "xmp"


_Vocabulary = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Labels of your own: one a line, as 'cat: house cat, kitten', or JSON. Default: some 500 "
        "built-in ones for everyday photos.",
    ),
]
_To = Annotated[
    Target | None,
    typer.Option(
        help="Write the tags: into a column, for filters, as CSV, or into XMP sidecars beside the pictures. "
        "Default: only show them."
    ),
]
_Out = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The CSV file. It is replaced if it is there.")
]
_Column = Annotated[str, typer.Option(metavar="NAME", help="The column, made if need be: lists of strings.")]
_Probe = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="In place of words, a classifier that clipkit train has made."),
]
_Threshold = Annotated[
    float | None,
    typer.Option(
        metavar="SD",
        help="By how many standard deviations an item has to be nearer to a label than to others: 3.5. "
        "Of a probe, the least probability: 0.5. Higher is stricter.",
    ),
]
_Top = Annotated[int, typer.Option(metavar="N", help="At most so many tags for an item.")]
_Kind = Annotated[
    KindChoice | None, typer.Option(help="Tag pictures, or texts. Default: pictures, if there are any.")
]


def tag(
    session: Session,
    vocabulary: _Vocabulary = None,
    probe: _Probe = None,
    to: _To = None,
    out: _Out = None,
    column: _Column = "tags",
    threshold: _Threshold = None,
    top: _Top = 5,
    kind: _Kind = None,
) -> None:
    """Tag the pictures or texts of a collection with the labels of a vocabulary that they stand out for.

    No picture is read again. Tags in a column can be searched: --where "array_has(tags, 'dog')". Those that
    were never tagged are: --where "tags IS NULL". Sidecars are merged with what is in them: keywords of your
    own stay, and those of an earlier run that no longer hold go. Needs clipkit[xmp].

    Example: clipkit tag --to column --threshold 4
    """
    from clipkit import labels
    from clipkit.probe import Probe
    from clipkit.searching import kind_or_main
    from clipkit.vocabulary import Vocabulary

    if (to is Target.csv) != (out is not None):
        raise InvalidInput("--to csv and --out FILE go together: say both or neither")
    if vocabulary is not None and probe is not None:
        raise InvalidInput("either --vocabulary or --probe says what labels there are, not both")
    labeller = Probe.load(probe) if probe else Vocabulary.read(vocabulary) if vocabulary else None
    collection = session.open()
    tagging = kind_or_main(chosen(kind), collection.count)
    if tagging == "text" and to is Target.xmp:
        raise InvalidInput("texts have no files that sidecars could be beside: say --to column or --to csv")
    counts: Counter[str] = Counter()
    with progress_bar("tagging") as show:
        tagged = _counted(
            _tagged(collection, labeller, Wanted(tagging, threshold, top, session.where, show)), counts
        )
        failures: tuple[Failure, ...] = ()
        if to is Target.column:
            written = labels.to_column(collection, tagged, column=column)
        elif out is not None:
            written = labels.to_csv(out, tagged)
        elif to is Target.xmp:
            report = labels.to_sidecars(tagged)
            written, failures = report.written, report.failures
        else:
            _show(session, collection.name, tagging, list(tagged))
            return
    if session.json:
        failed = [asdict(failure) for failure in failures]
        found = {f"{tagging}s": written, "labels": dict(counts.most_common()), "failures": failed}
        print_json({"collection": collection.name, **found})
    else:
        _show_counts(_NOUNS[tagging], written, counts)
    _note_failures(failures)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tags of which items."""

    kind: Kind
    threshold: float | None
    top: int
    where: str | None
    progress: Callable[[Progress], None]


def _tagged(collection: Collection, labeller: Probe | Vocabulary | None, wanted: Wanted) -> Iterator[Tagged]:
    from clipkit import labels
    from clipkit.probe import Probe

    given, kind, where, show = wanted.threshold, wanted.kind, wanted.where, wanted.progress
    if isinstance(labeller, Probe):
        sure = labels.CERTAIN if given is None else given
        return labels.classify(collection, labeller, kind=kind, where=where, threshold=sure, progress=show)
    least = labels.THRESHOLD if given is None else given
    tagger = labels.calibrated(collection, labeller, kind=kind)
    return labels.tag(collection, tagger, where=where, threshold=least, top=wanted.top, progress=show)


def _show_counts(noun: str, written: int, counts: Counter[str]) -> None:
    print_table(("label", f"{noun}s"), [(label, str(n)) for label, n in counts.most_common(LABELS_SHOWN)])
    note(f"{plural(written, noun)} written, with {plural(len(counts), 'label')}")


def _note_failures(failures: Sequence[Failure]) -> None:
    for failure in failures[:FAILURES_SHOWN]:
        note(f"{failure.id}: {failure.reason}")
    if len(failures) > FAILURES_SHOWN:
        note(f"and {len(failures) - FAILURES_SHOWN} more; --json has all of them")


def train(
    session: Session,
    examples: Annotated[
        Path,
        typer.Argument(
            metavar="EXAMPLES",
            help="A folder with a sub-folder of pictures, or of text files, for each class; a CSV file with "
            "the columns text and label; or a Parquet file of labelled pictures.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the classifier goes: it is replaced.")],
    model: _Model = None,
) -> None:
    """Train a classifier from examples, and measure it by cross-validation.

    It is for the vectors of one model: that of the collection, where there is one, or --model. Twenty
    examples of a class do for a start. Needs clipkit[learn].

    Example: clipkit train ~/mushrooms --out mushrooms.probe
    """
    from clipkit.labelled import has_texts, open_labelled, open_texts
    from clipkit.probe import train_probe

    known = open_texts(examples) if has_texts(examples) else open_labelled(examples)
    encoder = session.encoder(model)
    with progress_bar("embedding") as show:
        trained = train_probe(encoder, known, progress=show)
    probe, scores = trained.probe, trained.probe.scores
    probe.save(out)
    if session.json:
        failed = [asdict(failure) for failure in trained.failures]
        told = {"classes": probe.classes, "penalty": probe.penalty, "scores": asdict(scores)}
        print_json({"probe": str(out.absolute()), "model": probe.encoder, **told, "failures": failed})
    else:
        print_facts(
            {
                "classifier": str(out),
                "model": probe.encoder,
                "classes": ", ".join(probe.classes),
                "examples": f"{scores.examples}, in {scores.folds} folds",
                "accuracy": f"{scores.accuracy:.3f} ± {scores.accuracy_sd:.3f}",
                "macro F1": f"{scores.macro_f1:.3f} ± {scores.macro_f1_sd:.3f}",
            }
        )
    _note_failures(trained.failures)


def classify(
    session: Session,
    probe: Annotated[Path, typer.Argument(metavar="PROBE", help="A file that clipkit train has made.")],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUTS", help="Pictures, or with --text texts.")],
    text: Annotated[
        bool, typer.Option("--text", help="The inputs are texts, not paths, as with a model of texts alone.")
    ] = False,
) -> None:
    """Say which class pictures or texts belong to, by a trained classifier.

    For the items of a collection: clipkit tag --probe.

    Example: clipkit classify mushrooms.probe 1.jpg 2.jpg
    """
    from clipkit.probe import Probe

    classifier = Probe.load(probe)
    encoder = session.encoder(classifier.encoder)
    as_texts = text or "image" not in encoder.modalities
    said = (classifier.predict_texts if as_texts else classifier.predict_images)(encoder, inputs)
    if session.json:
        pairs = zip(inputs, said, strict=True)
        print_json({"predictions": [{"input": given, **asdict(one)} for given, one in pairs]})
        return
    rows = [(given, one.label, f"{one.probability:.3f}") for given, one in zip(inputs, said, strict=True)]
    print_table(("input", "class", "probability"), rows, right=("probability",))


def _counted(tagged: Iterable[Tagged], counts: Counter[str]) -> Iterator[Tagged]:
    for one in tagged:
        counts.update(tag.label for tag in one.tags)
        yield one


def _show(session: Session, name: str, kind: Kind, tagged: list[Tagged]) -> None:
    from clipkit.folders import id_to_path

    if session.json:
        print_json({"collection": name, f"{kind}s": [asdict(one) for one in tagged]})
        return
    if not tagged:
        note(f"the collection has no such {_NOUNS[kind]}s")
    rows = [
        (
            one.text or id_to_path(one.uri or one.id),
            ", ".join(f"{tag.label} {tag.strength:.1f}" for tag in one.tags),
        )
        for one in tagged
    ]
    print_table((_NOUNS[kind], "tags"), rows)
