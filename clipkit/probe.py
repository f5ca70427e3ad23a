"""Linear probes: a classifier trained from examples, on the vectors of one model.

Multinomial logistic regression with an L2 penalty, as CLIP's authors probe it (Radford et al., Learning
transferable visual models from natural language supervision, 2021, section 3.2). How strong the penalty is,
cross-validation decides by log-loss, so that probabilities are sound. What the probe reaches is measured on
examples that it has not seen, neither to fit it nor to choose the penalty (nested cross-validation: Varma and
Simon, Bias in error estimation when using cross-validation for model selection, 2006).

A probe is saved as safetensors: two arrays, and JSON with the classes, the scores and the fingerprint of the
model, without which its weights mean nothing. Nothing in such a file can run.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipkit.embedded import embed
from clipkit.encoder import Encoder, ImageInput, Vectors
from clipkit.errors import CollectionMismatch, InvalidInput, MissingExtra
from clipkit.files import replaced
from clipkit.labelled import Labelled, LabelledTexts
from clipkit.reports import Failure, Progress

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

FOLDS = 5
INNER_FOLDS = 3  # to choose the penalty: it need not be exact
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)  # scikit-learn's C; rows of unit length want a large one
FORMAT_VERSION = 1
_KEY = "clipkit.probe"
_ITERATIONS = 1000

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """What a probe reaches on examples it was not trained with: means over `folds`, and the standard
    deviations between them, which tell how much the choice of examples matters."""

    accuracy: float
    accuracy_sd: float
    macro_f1: float
    macro_f1_sd: float
    folds: int
    examples: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """The likeliest class, and its probability among the classes of the probe."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Probe:
    """A linear classifier of the vectors of one model. `weights` are (classes, dim), `biases` (classes,).

    Every input gets one of the classes, however little it fits: look at the probability.
    """

    encoder: str
    fingerprint: str
    classes: tuple[str, ...]
    weights: NDArray[np.float32]
    biases: NDArray[np.float32]
    penalty: float
    scores: CrossValidation

    def probabilities(self, vectors: Vectors) -> NDArray[np.float64]:
        """The probability of each class, (n, classes), in the order of `classes`."""
        logits = vectors.astype(np.float64) @ self.weights.T + self.biases
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
        return probabilities

    def predict(self, vectors: Vectors) -> list[Prediction]:
        """The likeliest class of each vector. They have to be the model's own: see `checked`."""
        every = self.probabilities(vectors)
        return [Prediction(self.classes[at], float(row[at])) for row in every for at in [int(row.argmax())]]

    def predict_images(self, encoder: Encoder, images: Sequence[ImageInput]) -> list[Prediction]:
        """The likeliest class of each image. Raises CollectionMismatch for another model."""
        return self.predict(self.checked(encoder).encode_images(images))

    def predict_texts(self, encoder: Encoder, texts: Sequence[str]) -> list[Prediction]:
        """The likeliest class of each text. Raises CollectionMismatch for another model."""
        return self.predict(self.checked(encoder).encode_texts(texts))

    def checked(self, encoder: Encoder) -> Encoder:
        """`encoder`, if the probe was trained on its vectors. Raises CollectionMismatch."""
        if encoder.fingerprint != self.fingerprint:
            raise CollectionMismatch(
                f"the probe was trained on vectors of {self.encoder} (fingerprint {self.fingerprint}), which "
                f"those of {encoder.name} ({encoder.fingerprint}) cannot stand for: use that model, or train "
                "a probe for this one"
            )
        return encoder

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the probe to a file, which appears, or is replaced, only when complete."""
        from safetensors.numpy import save

        told = {
            "version": FORMAT_VERSION,
            "encoder": self.encoder,
            "fingerprint": self.fingerprint,
            "classes": self.classes,
            "penalty": self.penalty,
            "scores": asdict(self.scores),
        }
        with replaced(path) as part:
            arrays = {"weights": self.weights, "biases": self.biases}
            part.write_bytes(save(arrays, metadata={_KEY: json.dumps(told)}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Probe:
        """The probe of a file. Raises InvalidInput for one that is not there or is none."""
        from safetensors import SafetensorError, safe_open

        name = os.fspath(path)
        try:
            with safe_open(os.path.expanduser(path), framework="numpy") as file:
                told = json.loads((file.metadata() or {})[_KEY])
                weights, biases = file.get_tensor("weights"), file.get_tensor("biases")
            if told["version"] != FORMAT_VERSION:
                raise InvalidInput(
                    f"{name} is a probe of format {told['version']}; this clipkit reads {FORMAT_VERSION}"
                )
            found = cls(
                encoder=told["encoder"],
                fingerprint=told["fingerprint"],
                classes=tuple(told["classes"]),
                weights=weights,
                biases=biases,
                penalty=told["penalty"],
                scores=CrossValidation(**told["scores"]),
            )
        except FileNotFoundError as error:
            raise InvalidInput(f"there is no probe {name}: clipkit train makes one") from error
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"{name} is not a probe that clipkit train has written") from error
        if weights.shape[:1] != biases.shape or len(weights) != len(found.classes):
            raise InvalidInput(f"{name} is damaged: it has {len(found.classes)} classes, not {len(weights)}")
        return found


@dataclass(frozen=True, slots=True)
class Training:
    """A probe, and the examples that could not be used for it, with the reasons."""

    probe: Probe
    failures: tuple[Failure, ...] = ()


def train_probe(
    encoder: Encoder,
    examples: Labelled | LabelledTexts,
    *,
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Training:
    """A probe for the classes of `examples`: pictures (`open_labelled`) or texts (`open_texts`).

    Examples that cannot be read are named in `failures`. Raises InvalidInput as `fit` does, and MissingExtra
    without scikit-learn.
    """
    _require_sklearn()
    if isinstance(examples, LabelledTexts):
        vectors = encoder.encode_texts(examples.texts)
        return Training(fit(encoder, vectors, examples.labels, seed=seed))
    if not examples.classes:
        raise InvalidInput(f"{examples.name} has captions, but no classes to train for")
    found = embed(encoder, examples, progress)
    rows = [row for row, truth in enumerate(found.truths) if truth.label is not None]
    names = {key: own[0] for key, own in examples.classes.items()}
    labels = [names[found.truths[row].label or ""] for row in rows]
    probe = fit(encoder, found.vectors[rows], labels, seed=seed)
    return Training(probe, (*examples.failures, *found.failures))


def fit(encoder: Encoder, vectors: Vectors, labels: Sequence[str], *, seed: int = 0) -> Probe:
    """A probe for `labels`, one for each row of `vectors` (n, dim), which are those of `encoder`.

    `seed` shuffles the examples into folds: as many as the smallest class has examples, up to FOLDS. Raises
    InvalidInput for fewer than two classes, and for a class of fewer than two examples.
    """
    _require_sklearn()
    if len(labels) != len(vectors):
        raise InvalidInput(f"there are {len(labels)} labels for {len(vectors)} vectors")
    counts = Counter(labels)
    if len(counts) < 2:
        raise InvalidInput(
            f"a probe tells classes apart, at least two: there is {', '.join(counts) or 'none'}"
        )
    rare, fewest = min(counts.items(), key=lambda item: (item[1], item[0]))
    if fewest < 2:
        raise InvalidInput(f"the class {rare!r} has one example: give at least two of each, better twenty")
    classes = tuple(sorted(counts))
    places = np.array([classes.index(label) for label in labels], np.int64)
    scores = _cross_validated(vectors, places, min(FOLDS, fewest), seed)
    penalty = _best_penalty(vectors, places, seed)
    model = _fitted(vectors, places, penalty)
    weights, biases = model.coef_, model.intercept_
    if len(classes) == 2:  # scikit-learn has one row for two classes: the second against the first
        weights, biases = np.vstack([0 * weights, weights]), np.array([0.0, *biases])
    return Probe(
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        classes=classes,
        weights=np.ascontiguousarray(weights, np.float32),
        biases=np.ascontiguousarray(biases, np.float32),
        penalty=penalty,
        scores=scores,
    )


def _cross_validated(vectors: Vectors, places: Ints, folds: int, seed: int) -> CrossValidation:
    from sklearn.metrics import f1_score

    accuracies, f1s = [], []
    for train, test in _folds(vectors, places, folds, seed):
        penalty = _best_penalty(vectors[train], places[train], seed)
        said = _fitted(vectors[train], places[train], penalty).predict(vectors[test])
        accuracies.append(np.mean(said == places[test]))
        f1s.append(f1_score(places[test], said, average="macro", zero_division=0.0))
    return CrossValidation(
        accuracy=float(np.mean(accuracies)),
        accuracy_sd=float(np.std(accuracies)),
        macro_f1=float(np.mean(f1s)),
        macro_f1_sd=float(np.std(f1s)),
        folds=folds,
        examples=len(places),
    )


def _best_penalty(vectors: Vectors, places: Ints, seed: int) -> float:
    """The penalty of least log-loss on held-out examples; the middle one where a class has too few."""
    folds = min(INNER_FOLDS, int(np.unique(places, return_counts=True)[1].min()))
    if folds < 2:
        return PENALTIES[len(PENALTIES) // 2]
    losses = np.zeros(len(PENALTIES))
    for train, test in _folds(vectors, places, folds, seed):
        for at, penalty in enumerate(PENALTIES):
            model = _fitted(vectors[train], places[train], penalty)
            likely = model.predict_proba(vectors[test])[np.arange(len(test)), places[test]]
            losses[at] -= np.log(np.maximum(likely, 1e-15)).sum()
    return PENALTIES[int(losses.argmin())]


def _folds(vectors: Vectors, places: Ints, folds: int, seed: int) -> Iterator[tuple[Ints, Ints]]:
    from sklearn.model_selection import StratifiedKFold

    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    yield from split.split(vectors, places)


def _fitted(vectors: Vectors, places: Ints, penalty: float) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    model: Any = LogisticRegression(C=penalty, max_iter=_ITERATIONS)
    return model.fit(vectors, places)


def _require_sklearn() -> None:
    try:
        import sklearn  # noqa: F401 - whether it is there
    except ImportError as error:
        raise MissingExtra("training a probe", "learn") from error
