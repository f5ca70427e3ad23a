"""Word vectors: their formats, their arithmetic, and training."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from clipkit import Collection, load_encoder
from clipkit.cli.commands import app
from clipkit.encoders.words import UnknownWordsWarning, WordEncoder, words_in
from clipkit.errors import InvalidInput, ModelUnavailable, WeightsError
from clipkit.words import Training, load_words, train_words

WORDS = ["the", "king", "queen", "man", "woman", "apple"]
VECTORS = np.array(
    [[1, 1, 1], [5, 4, 0], [5, 0, 4], [1, 4, 0], [1, 0, 4], [0, -3, -3]],
    np.float32,
)  # what is royal in the first number, male in the second, female in the third


def glove(path: Path) -> Path:
    rows = [f"{word} {' '.join(map(str, row))}" for word, row in zip(WORDS, VECTORS.tolist(), strict=True)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def text(path: Path) -> Path:
    plain = glove(path.with_suffix(".plain"))
    path.write_text(f"{len(WORDS)} 3\n{plain.read_text(encoding='utf-8')}", encoding="utf-8")
    return path


def binary(path: Path) -> Path:
    rows = b"".join(
        word.encode() + b" " + row.astype("<f4").tobytes() + b"\n"
        for word, row in zip(WORDS, VECTORS, strict=True)
    )
    path.write_bytes(f"{len(WORDS)} 3\n".encode() + rows)
    return path


def zipped(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def made(path: Path) -> Path:
        plain = make(path.with_suffix(".raw"))
        path.write_bytes(gzip.compress(plain.read_bytes()))
        return path

    return made


FORMATS = {
    "glove": glove,
    "text": text,
    "binary": binary,
    "glove.gz": zipped(glove),
    "text.gz": zipped(text),
    "binary.gz": zipped(binary),
}


@pytest.fixture
def words(tmp_path: Path) -> WordEncoder:
    return load_words(glove(tmp_path / "words.txt"))


@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_same_words_and_vectors(make: Callable[[Path], Path], tmp_path: Path) -> None:
    read = load_words(make(tmp_path / "vectors"))
    assert list(read.words) == WORDS
    assert read.dim == 3
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    np.testing.assert_allclose(read.encode_texts(WORDS), unit, atol=1e-6)


def test_an_analogy_is_the_nearest_to_the_sum_of_unit_vectors(words: WordEncoder) -> None:
    unit = dict(zip(WORDS, VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True), strict=True))
    sought = unit["king"] - unit["man"] + unit["woman"]
    scores = {word: float(unit[word] @ sought / np.linalg.norm(sought)) for word in ("the", "queen", "apple")}
    found = words.analogy("king", "man", "woman")
    assert [one.word for one in found] == sorted(scores, key=lambda word: -scores[word])
    assert found[0].word == "queen"
    assert found[0].score == pytest.approx(scores["queen"], abs=1e-6)


def test_similar_words_leave_the_word_itself_out(words: WordEncoder) -> None:
    found = words.similar("King", k=2)
    assert len(found) == 2
    assert "king" not in [one.word for one in found]


def test_the_odd_one_out_is_farthest_from_the_mean(words: WordEncoder) -> None:
    assert words.odd_one_out(["king", "queen", "man", "apple"]) == "apple"
    with pytest.raises(InvalidInput, match="three words or more"):
        words.odd_one_out(["king", "queen"])


def test_a_text_is_the_weighted_mean_of_its_words(words: WordEncoder) -> None:
    ranks = np.arange(1, len(WORDS) + 1)
    shares = 1 / (ranks + 2.7)
    weights = 1e-3 / (1e-3 + shares / shares.sum())
    expected = (weights[1] * VECTORS[1] + weights[5] * VECTORS[5]) / 2
    (row,) = words.encode_texts(["King, apple!"])
    np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-6)


def test_counts_beside_the_file_give_the_weights(tmp_path: Path) -> None:
    path = glove(tmp_path / "words.txt")
    plain = load_words(path).encode_texts(["the king"])
    Path(f"{path}.vocab").write_text("the 1000000\nking 1\n")
    counted = load_words(path)
    (row,) = counted.encode_texts(["the king"])
    assert row @ counted.encode_texts(["king"])[0] > plain[0] @ counted.encode_texts(["king"])[0]


def test_unknown_words_are_named_and_skipped(words: WordEncoder) -> None:
    with pytest.warns(UnknownWordsWarning, match=r"1 words have no vector .*'emperor' \(text 0\)"):
        rows = words.encode_texts(["king emperor", "king"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_unknown_words_are_an_error_if_that_was_asked_for(tmp_path: Path) -> None:
    strict = load_words(glove(tmp_path / "words.txt"), unknown="error")
    with pytest.raises(InvalidInput, match=r"no vector in words\.txt: 'emperor'") as raised:
        strict.encode_texts(["king", "king emperor"])
    assert raised.value.position == 1


@pytest.mark.parametrize(("said", "message"), [("", "has no words"), ("emperor", "no word of the text")])
def test_a_text_without_known_words_has_no_direction(words: WordEncoder, said: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        words.encode_texts([said])


def test_a_word_that_is_not_there_is_told_with_its_like(words: WordEncoder) -> None:
    with pytest.raises(InvalidInput, match=r"no vector for the word 'quen'. Did you mean queen\?"):
        words.similar("quen")


@pytest.mark.parametrize("more", [True, False])
def test_a_line_of_another_width_is_named(more: bool, tmp_path: Path) -> None:
    path = glove(tmp_path / "words.txt")
    lines = path.read_text().splitlines()
    lines[3] = f"{lines[3]} 7" if more else lines[3].rpartition(" ")[0]
    path.write_text("\n".join(lines))
    with pytest.raises(WeightsError, match=r"line 4 of .* where 3 are wanted"):
        load_words(path)


@pytest.mark.parametrize("kept", [0.5, 0.95])
@pytest.mark.parametrize("make", [binary, zipped(binary), zipped(glove)], ids=["bin", "bin.gz", "txt.gz"])
def test_a_file_that_is_cut_short_is_told(make: Callable[[Path], Path], kept: float, tmp_path: Path) -> None:
    path = make(tmp_path / "vectors")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(WeightsError, match=str(path)):
        load_words(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="there is no file of word vectors"):
        load_words(tmp_path / "none.txt")


def test_words_hang_together_by_hyphen_point_and_apostrophe() -> None:
    assert words_in("Don't mix U.S. e-mail, snake_case!") == ["Don't", "mix", "U.S", "e-mail", "snake_case"]


def test_a_collection_of_texts_by_words(tmp_path: Path, db: Path) -> None:
    spec = f"words:{glove(tmp_path / 'words.txt')}"
    collection = Collection.create(db=db, encoder=spec)
    collection.add_texts(["the king", "the apple"], ids=["king", "apple"])
    assert Collection.open(db=db).search("queen", k=1)[0].id == "king"
    assert load_encoder(spec).fingerprint == collection.encoder.fingerprint


# --- training


def kingdom() -> list[str]:
    """Sentences in which a king is to a man what a queen is to a woman, and much else."""
    rng = random.Random(0)
    royal = {"king": ("man", "he", "his"), "queen": ("woman", "she", "her")}
    common = {"man": ("man", "he", "his"), "woman": ("woman", "she", "her")}
    sentences = []
    for _ in range(4_000):
        word, (kind, who, whose) = rng.choice(list(royal.items()))
        sentences.append(f"the {word} wears a crown and {who} rules from {whose} throne in the palace")
        sentences.append(f"the {word} is a {kind} who rules the realm with {whose} crown")
        word, (_, who, whose) = rng.choice(list(common.items()))
        sentences.append(f"the {word} walks to the market and {who} buys bread for {whose} family")
        sentences.append(f"an apple is a fruit that the {word} eats with bread")
    return sentences


@pytest.mark.parametrize("method", ["skip-gram", "cbow"])
def test_king_minus_man_plus_woman_is_queen(method: str, tmp_path: Path) -> None:
    training = Training(method=method, dim=32, window=4, epochs=10)  # type: ignore[arg-type]
    told = train_words(kingdom(), tmp_path / "kingdom.txt", training)
    words = load_words(told.path)
    assert told.words == len(words.words)
    assert words.analogy("king", "man", "woman", k=1)[0].word == "queen"


def test_equal_seeds_train_equal_vectors(tmp_path: Path) -> None:
    sentences = list(itertools.islice(kingdom(), 500))
    training = Training(dim=8, epochs=2, min_count=1)
    first, second = (
        train_words(sentences, tmp_path / name, training).path.read_bytes() for name in ("a.bin", "b.bin")
    )
    assert first == second
    assert train_words(sentences, tmp_path / "c.bin", Training(dim=8, epochs=2, min_count=1, seed=1))
    assert (tmp_path / "c.bin").read_bytes() != first


def test_a_text_too_small_to_train_on_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no word occurs 5 times in the 3 words"):
        train_words(["one two three"], tmp_path / "few.txt")
    assert not (tmp_path / "few.txt").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"method": "glove"}, "no training is called 'glove'"), ({"dim": 0}, "dim must be at least 1, not 0")],
)
def test_a_training_that_cannot_be_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Training(**settings)  # type: ignore[arg-type]


# --- on the command line


def clipkit(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in ("words", *arguments)])
    return result.exit_code, result.stdout


def test_the_command_line_answers_with_words(tmp_path: Path) -> None:
    path = glove(tmp_path / "words.txt")
    code, out = clipkit("analogy", "king", "man", "woman", "--vectors", path, "-k", 1, "--json")
    assert code == 0
    assert json.loads(out)["words"][0]["word"] == "queen"
    code, out = clipkit("similar", "queen", "--vectors", path, "--json")
    assert [one["word"] for one in json.loads(out)["words"]] == [
        one.word for one in load_words(path).similar("queen")
    ]
    code, out = clipkit("odd-one-out", "king", "queen", "man", "apple", "--vectors", path)
    assert (code, out) == (0, "apple\n")
    code, out = clipkit("similar", "emperor", "--vectors", path, "--json")
    assert code == 2
    assert json.loads(out)["error"]["type"] == "InvalidInput"


def test_the_command_line_trains(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(kingdom()[:200]))
    code, out = clipkit("train", tmp_path / "texts.txt", tmp_path / "out.bin", "--dim", 8, "--json")
    assert code == 0
    told = json.loads(out)
    assert told["dim"] == load_words(told["path"]).dim == 8
