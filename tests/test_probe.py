from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from clipkit.encoder import Vectors, unit_rows
from clipkit.errors import CollectionMismatch, InvalidInput, MissingExtra, StorageError
from clipkit.labelled import has_texts, open_labelled, open_texts
from clipkit.probe import PENALTIES, Probe, fit, train_probe
from clipkit.testing import FakeEncoder

DIM = 32


def clusters(n: int, classes: int, spread: float, seed: int = 0) -> tuple[Vectors, list[str]]:
    """n points around each of some directions; the smaller the spread, the easier to tell apart."""
    random = np.random.default_rng(seed)
    raw = np.repeat(np.eye(DIM)[:classes], n, axis=0) + spread * random.normal(size=(n * classes, DIM))
    return unit_rows(raw, len(raw), DIM), [f"class {i}" for i in range(classes) for _ in range(n)]


@pytest.fixture(scope="module")
def easy() -> Probe:
    return fit(FakeEncoder(), *clusters(12, 3, 0.05))


def test_classes_that_lie_apart_are_learned(easy: Probe) -> None:
    assert easy.classes == ("class 0", "class 1", "class 2")
    assert (easy.scores.accuracy, easy.scores.macro_f1, easy.scores.accuracy_sd) == (1.0, 1.0, 0.0)
    assert (easy.scores.folds, easy.scores.examples) == (5, 36)
    vectors, labels = clusters(20, 3, 0.05, seed=1)
    assert [said.label for said in easy.predict(vectors)] == labels


def test_probabilities_add_up_and_the_largest_is_told(easy: Probe) -> None:
    vectors, _ = clusters(5, 3, 0.3, seed=2)
    every = easy.probabilities(vectors)
    assert every.shape == (15, 3)
    np.testing.assert_allclose(every.sum(axis=1), 1.0)
    for row, said in zip(every, easy.predict(vectors), strict=True):
        assert said.probability == pytest.approx(row.max())
        assert said.label == easy.classes[int(row.argmax())]


def test_two_classes_are_as_scikit_learn_has_them() -> None:
    from sklearn.linear_model import LogisticRegression

    vectors, labels = clusters(15, 2, 0.4)
    probe = fit(FakeEncoder(), vectors, labels)
    own = LogisticRegression(C=probe.penalty, max_iter=1000).fit(vectors, labels)
    np.testing.assert_allclose(probe.probabilities(vectors), own.predict_proba(vectors), atol=1e-4)
    assert probe.penalty in PENALTIES


def test_noise_scores_no_better_than_chance() -> None:
    """What it was fitted to it knows by heart: figures near to chance come from other examples."""
    random = np.random.default_rng(3)
    vectors = unit_rows(random.normal(size=(120, DIM)), 120, DIM)
    labels = ["a", "b", "c"] * 40
    probe = fit(FakeEncoder(), vectors, labels)
    assert probe.scores.accuracy < 0.5
    assert probe.scores.accuracy_sd > 0


def test_equal_seeds_give_equal_probes() -> None:
    first, second = (fit(FakeEncoder(), *clusters(6, 3, 0.5), seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)
    assert first.scores == second.scores


def test_small_classes_make_fewer_folds() -> None:
    vectors, labels = clusters(6, 3, 0.1)
    probe = fit(FakeEncoder(), vectors[4:], labels[4:])
    assert probe.scores.folds == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "a"], "a probe tells classes apart, at least two: there is a"),
        ([], "at least two: there is none"),
        (["a", "a", "b"], "the class 'b' has one example: give at least two of each"),
    ],
)
def test_too_few_examples_are_told(labels: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        fit(FakeEncoder(), clusters(3, 1, 0.1)[0][: len(labels)], labels)


def test_a_label_for_each_vector(easy: Probe) -> None:
    with pytest.raises(InvalidInput, match="there are 1 labels for 3 vectors"):
        fit(FakeEncoder(), clusters(3, 1, 0.1)[0], ["a"])


# --- examples


def test_a_folder_of_classes_trains_a_probe(tmp_path: Path) -> None:
    for colour in ("red", "blue"):
        (tmp_path / f"the_{colour}").mkdir()
        for number in range(4):
            picture = Image.new("RGB", (16, 16), colour)
            picture.putpixel((number, 0), (7, 7, 7))
            picture.save(tmp_path / f"the_{colour}" / f"{number}.png")
    (tmp_path / "the_red" / "broken.png").write_bytes(b"no picture")
    encoder = FakeEncoder()
    assert not has_texts(tmp_path)
    trained = train_probe(encoder, open_labelled(tmp_path))
    assert trained.probe.classes == ("the blue", "the red")
    assert trained.probe.scores.accuracy == 1.0
    assert [Path(failure.id).name for failure in trained.failures] == ["broken.png"]
    said = trained.probe.predict_images(encoder, [Image.new("RGB", (16, 16), "red")])
    assert said[0].label == "the red"


def test_texts_train_a_probe(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    rows = [(f"{word} number {i}", label) for i in range(4) for word, label in (("red", "a"), ("blue", "b"))]
    path.write_text("id,Text,label\n" + "".join(f"{i},{t},{label}\n" for i, (t, label) in enumerate(rows)))
    examples = open_texts(path)
    assert list(zip(examples.texts, examples.labels, strict=True)) == rows
    encoder = FakeEncoder()
    probe = train_probe(encoder, examples).probe
    assert [said.label for said in probe.predict_texts(encoder, ["red thing", "blue thing"])] == ["a", "b"]


def test_a_folder_of_text_files_is_one_of_texts(tmp_path: Path) -> None:
    for label in ("good_news", "bad"):
        (tmp_path / label).mkdir()
        for number in (1, 2):
            (tmp_path / label / f"{number}.txt").write_text(f"{label} {number}\n")
    (tmp_path / "bad" / "3.txt").write_text(" \n")
    assert has_texts(tmp_path)
    examples = open_texts(tmp_path)
    assert examples.texts == ("bad 1", "bad 2", "good_news 1", "good_news 2")
    assert examples.labels == ("bad", "bad", "good news", "good news")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'text'"),
        ("txt,label\na,b\n", "has no column 'text'. Did you mean txt"),
        ("text,label\n", "holds no texts"),
        ('text,label\n"a\nb",x\n,x\n', "line 4: the row has no text"),
        ("text,label\na\n", "line 2: the row has no label"),
    ],
)
def test_a_csv_that_will_not_do_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "texts.csv"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=message):
        open_texts(path)


# --- files


def test_a_saved_probe_is_the_same(easy: Probe, tmp_path: Path) -> None:
    path = tmp_path / "probe.safetensors"
    easy.save(path)
    again = Probe.load(path)
    assert (again.classes, again.scores, again.fingerprint) == (easy.classes, easy.scores, easy.fingerprint)
    vectors, _ = clusters(4, 3, 0.2, seed=5)
    np.testing.assert_array_equal(again.probabilities(vectors), easy.probabilities(vectors))
    assert [file.name for file in tmp_path.iterdir()] == ["probe.safetensors"]


def test_another_model_is_refused(easy: Probe) -> None:
    with pytest.raises(
        CollectionMismatch, match=r"vectors of fake \(fingerprint fake-1-32\), which those of"
    ):
        easy.predict_texts(FakeEncoder(upright=False), ["red"])


def test_what_is_no_probe_is_told(easy: Probe, tmp_path: Path) -> None:
    path = tmp_path / "probe.safetensors"
    with pytest.raises(InvalidInput, match=r"there is no probe .*: clipkit train makes one"):
        Probe.load(path)
    path.write_bytes(b"no probe")
    with pytest.raises(InvalidInput, match="is not a probe that clipkit train has written"):
        Probe.load(path)
    save_file({"weights": np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(InvalidInput, match="is not a probe that clipkit train has written"):
        Probe.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "is a probe of format 2; this clipkit reads 1"),
        ({"classes": ["a"]}, "is damaged: it has 1 classes, not 3"),
        ({"scores": {}}, "is not a probe that clipkit train has written"),
    ],
)
def test_a_damaged_probe_is_told(
    easy: Probe, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    from safetensors import safe_open

    path = tmp_path / "probe.safetensors"
    easy.save(path)
    with safe_open(path, framework="numpy") as file:
        told = {**json.loads(file.metadata()["clipkit.probe"]), **change}
    save_file(load_file(path), path, metadata={"clipkit.probe": json.dumps(told)})
    with pytest.raises(InvalidInput, match=message):
        Probe.load(path)


def test_a_probe_that_cannot_be_written_is_told(easy: Probe, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        easy.save(tmp_path / "no" / "probe.safetensors")


def test_without_scikit_learn_the_install_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtra, match=r"pip install 'clipkit\[learn\]'"):
        fit(FakeEncoder(), *clusters(3, 2, 0.1))
