from __future__ import annotations

import gzip
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipkit import Collection
from clipkit.encoders import cached, canonical_name, load_encoder
from clipkit.encoders.wordfiles import read
from clipkit.encoders.words import SMOOTHING, UnknownWordsWarning, WordEncoder
from clipkit.errors import InvalidInput, MissingExtra, ModelUnavailable, StorageError, WeightsError
from clipkit.words import Training, load_words, train_words
from tests.corpora import royal_sentences, vectors_file

FOUR = {
    "the": [1.0, 0.0, 0.0],
    "cat": [0.0, 2.0, 0.0],
    "dog": [0.0, 0.5, 0.5],
    "Paris": [0.0, 0.0, -3.0],
}


def binary(path: Path, vectors: dict[str, list[float]] = FOUR, *, newlines: bool = False) -> Path:
    """`path`, in the binary format: as word2vec writes it, with newlines, or as gensim, without."""
    rows = [word.encode() + b" " + np.array(row, "<f4").tobytes() for word, row in vectors.items()]
    header = f"{len(vectors)} {len(next(iter(vectors.values())))}\n".encode()
    path.write_bytes(header + (b"\n" if newlines else b"").join(rows) + b"\n" * newlines)
    return path


def zipped(path: Path, source: Path) -> Path:
    path.write_bytes(gzip.compress(source.read_bytes()))
    return path


FORMATS: dict[str, Callable[[Path], Path]] = {
    "GloVe": lambda folder: vectors_file(folder / "a.txt", FOUR),
    "Word2Vec": lambda folder: vectors_file(folder / "a.vec", FOUR, header=True),
    "binary": lambda folder: binary(folder / "a.bin"),
    "binary of word2vec": lambda folder: binary(folder / "a.bin", newlines=True),
    "GloVe, gzip": lambda folder: zipped(folder / "a.txt.gz", vectors_file(folder / "a", FOUR)),
    "Word2Vec, gzip": lambda folder: zipped(folder / "a", vectors_file(folder / "b", FOUR, header=True)),
    "binary, gzip": lambda folder: zipped(folder / "a.bin", binary(folder / "b")),
}


@pytest.fixture
def four(tmp_path: Path) -> WordEncoder:
    return load_words(vectors_file(tmp_path / "four.txt", FOUR))


@pytest.fixture(scope="module")
def royal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors trained on sentences in which king is to man as queen is to woman."""
    out = tmp_path_factory.mktemp("royal") / "royal.txt"
    train_words(royal_sentences(), out, Training(dim=24, min_count=2))
    return out


# --- files


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_told_from_what_is_in_the_file(kind: str, tmp_path: Path) -> None:
    found = read(FORMATS[kind](tmp_path))
    assert found.index_to_key == list(FOUR)
    np.testing.assert_array_equal(found.vectors, np.array(list(FOUR.values()), np.float32))
    np.testing.assert_array_equal(found["Paris"], np.array(FOUR["Paris"], np.float32))


@pytest.mark.parametrize("kind", ["Word2Vec", "binary", "GloVe"])
def test_gensim_reads_the_same(kind: str, tmp_path: Path) -> None:
    from gensim.models import KeyedVectors

    path = FORMATS[kind](tmp_path)
    theirs = KeyedVectors.load_word2vec_format(str(path), binary=kind == "binary", no_header=kind == "GloVe")
    ours = read(path)
    assert ours.index_to_key == theirs.index_to_key
    np.testing.assert_array_equal(ours.vectors, theirs.vectors)
    assert ours.most_similar("cat") == theirs.most_similar("cat")


def test_more_lines_than_are_parsed_at_once_stay_in_order(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(4321, 5)).astype(np.float32)
    many = {f"w{i}": row.tolist() for i, row in enumerate(rows)}
    for path in (vectors_file(tmp_path / "text", many), binary(tmp_path / "binary", many)):
        found = read(path)
        assert found.index_to_key == list(many)
        np.testing.assert_array_equal(found.vectors, rows)


def test_words_may_hold_blanks_and_lines_may_be_blank(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("cat 1 2\n. . . 3 4\n\nby  5  6 \n")
    found = read(path)
    assert found.index_to_key == ["cat", ". . .", "by"]
    assert found.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_of_a_word_that_is_there_twice_the_first_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a 1 0\nb 0 1\na 5 5\n")
    assert read(path).vectors.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a 1 2\nb 1\nc 1 2\n", "line 2 of .*a.txt has 1 numbers, where 2 are wanted"),
        ("the 1 2\ncat 1 2 3\n", "line 2 of .*a.txt has more than 2 numbers, where 2 are wanted"),
        ("3 2\na 1 2\nb 1 2\nc 1\n", "line 4 of .*a.txt has 1 numbers, where 2 are wanted"),
        ("a 1 2\nb 1 x\n", "line 2 of .*a.txt does not have 2 finite numbers after 'b'"),
        ("a 1 2\nb 1 nan\n", "line 2 of .*a.txt does not have 2 finite numbers"),
        (
            "a 1 2\n" * 2500 + "b 1 2 3 x\n",
            "line 2501 of .*a.txt has more than 2 numbers, where 2 are wanted",
        ),
        ("3 2\na 1 2\nb 1 2\n", "says that it holds 3 words, but has 2: it is cut short or damaged"),
        ("", "is no file of word vectors"),
        ("word\n", "is no file of word vectors"),
        ("<!DOCTYPE html>\n<p>not found\n", "line 1 of .*a.txt does not have 1 finite numbers"),
        ("0 300\n", "says that it holds 0 words of 300 dimensions"),
        (
            "99999999999 300\na 1",
            "says that it holds 99,999,999,999 words of 300 dimensions, but has 19 bytes",
        ),
    ],
)
def test_a_text_file_that_is_wrong_is_told_with_its_line(
    tmp_path: Path, content: str, complaint: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(content)
    with pytest.raises(WeightsError, match=complaint):
        read(path)


@pytest.mark.parametrize("cut", [1, 4, 9, 30])
def test_a_binary_file_that_is_cut_short_is_told(tmp_path: Path, cut: int) -> None:
    path = binary(tmp_path / "a.bin")
    path.write_bytes(path.read_bytes()[:-cut])
    place = {1: 4, 4: 4, 9: 4, 30: 3}[cut]
    with pytest.raises(WeightsError, match=f"4 words of 3 dimensions, but ends in number {place}: it is cut"):
        read(path)


def test_a_gzip_file_that_is_cut_short_is_told(tmp_path: Path) -> None:
    path = FORMATS["GloVe, gzip"](tmp_path)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(WeightsError, match=r"is cut short or damaged \(Compressed file ended"):
        read(path)


def test_numbers_that_are_not_finite_are_told_in_binary_files_too(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="the numbers of 'b' are not finite"):
        read(binary(tmp_path / "a.bin", {"a": [1.0, 2.0], "b": [1.0, float("inf")]}))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=f"there is no file of word vectors {tmp_path}/none"):
        load_words(tmp_path / "none")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        load_words(tmp_path)


# --- texts


def test_a_text_is_the_weighted_mean_of_its_words(four: WordEncoder) -> None:
    shares = 1 / (np.arange(1, 5) + 2.7)
    weights = SMOOTHING / (SMOOTHING + shares / shares.sum())
    total = weights[0] * np.array(FOUR["the"]) + 2 * weights[2] * np.array(FOUR["dog"])
    np.testing.assert_allclose(
        four.encode_texts(["The dog, dog!"])[0], total / np.linalg.norm(total), atol=1e-6
    )


def test_counts_beside_the_file_weigh_the_words(tmp_path: Path) -> None:
    path = vectors_file(tmp_path / "a.txt", {"a": [1.0, 0.0], "b": [0.0, 1.0]})
    plain = load_words(path)
    (tmp_path / "a.txt.vocab").write_text("a 999\nb 1\n")
    counted = load_words(path)
    weights = SMOOTHING / (SMOOTHING + np.array([0.999, 0.001]))
    np.testing.assert_allclose(counted.encode_texts(["a b"])[0], weights / np.linalg.norm(weights), atol=1e-6)
    assert counted.fingerprint != plain.fingerprint
    (tmp_path / "a.txt.vocab").write_text("a 999\nb\n")
    with pytest.raises(WeightsError, match=r"line 2 of .*a\.txt\.vocab is not a word and a count: 'b'"):
        load_words(path)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("CAT", "cat"),
        ("Paris", "Paris"),
        ("cat-dog", "cat dog"),
        ("the cat's", "the cat"),
        ("cat.\n\tdog", "cat dog"),
    ],
)
@pytest.mark.filterwarnings("ignore::clipkit.encoders.words.UnknownWordsWarning")
def test_words_are_found_as_written_or_in_lower_case_or_in_parts(
    four: WordEncoder, text: str, same: str
) -> None:
    np.testing.assert_array_equal(four.encode_texts([text]), four.encode_texts([same]))


def test_scripts_without_blanks_are_cut_at_their_longest_words(tmp_path: Path) -> None:
    path = vectors_file(
        tmp_path / "a.txt", {"银行": [1.0, 0.0, 0.0], "银": [0.0, 1.0, 0.0], "苹果": [0.0, 0.0, 1.0]}
    )
    words = load_words(path)
    np.testing.assert_array_equal(words.encode_texts(["银行苹果"]), words.encode_texts(["银行 苹果"]))
    with pytest.warns(
        UnknownWordsWarning, match=r"2 words have no vector .*'公司' \(text 0\), '吃' \(text 1\)"
    ):
        rows = words.encode_texts(["苹果公司", "吃苹果"])
    np.testing.assert_array_equal(rows[0], rows[1])


def test_unknown_words_are_left_out_and_named(four: WordEncoder) -> None:
    told = (
        r"2 words have no vector in four\.txt, and the texts do without: 'ox' \(text 1\), 'gnu' \(text 2\)$"
    )
    with pytest.warns(UnknownWordsWarning, match=told):
        rows = four.encode_texts(["cat", "cat ox", "cat gnu ox"])
    np.testing.assert_array_equal(rows, np.repeat(rows[:1], 3, axis=0))


def test_unknown_words_can_be_an_error(tmp_path: Path) -> None:
    path = vectors_file(tmp_path / "four.txt", FOUR)
    for words in (load_words(path, unknown="error"), load_encoder(f"words:{path}?unknown=error")):
        with pytest.raises(
            InvalidInput, match=r"input 1: words of the text have no vector in four\.txt: 'ox', 'gnu'"
        ):
            words.encode_texts(["cat", "cat ox gnu"])
    with pytest.raises(InvalidInput, match="unknown words are to be a skip or an error, not 'drop'"):
        load_encoder(f"words:{path}?unknown=drop")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "input 1: the text has no words, and so no direction"),
        (" ,.!", "input 1: the text has no words"),
        ("ox gnu ox", "input 1: no word of the text has a vector in four.txt: 'ox', 'gnu'$"),
        ("x" * 100_000, "input 1: no word of the text has a vector in four.txt: 'x{40}'$"),
    ],
)
def test_a_text_without_any_known_word_is_an_error(four: WordEncoder, text: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint) as caught:
        four.encode_texts(["cat", text])
    assert caught.value.position == 1


def test_the_position_is_that_of_the_caller_however_many_texts(four: WordEncoder) -> None:
    with pytest.raises(InvalidInput, match="input 5000: the text has no words"):
        four.encode_texts([*["cat"] * 5000, ""])


def test_texts_of_any_length_are_taken_whole(four: WordEncoder) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = four.encode_texts(["cat dog " * 12_500, "cat dog"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_a_collection_of_word_vectors_is_searched(royal: Path, db: Path) -> None:
    collection = Collection.create(db=db, encoder=f"words:{royal}")
    collection.add_texts(
        ["the actress stands on the stage", "the waiter brings the wine"], ids=["stage", "wine"]
    )
    assert collection.search("the actor in the film", kind="text")[0].id == "stage"
    assert Collection.open(db=db).encoder_name == f"words:{royal}"


# --- arithmetic


def test_an_analogy_is_the_nearest_to_the_sum_of_unit_vectors(four: WordEncoder) -> None:
    unit = {word: np.array(row) / np.linalg.norm(row) for word, row in FOUR.items()}
    sought = unit["cat"] - unit["the"] + unit["Paris"]
    best = four.analogy("cat", "the", "Paris")
    assert [each.word for each in best] == ["dog"], "the three that were asked for are left out"
    assert best[0].score == pytest.approx(float(unit["dog"] @ sought / np.linalg.norm(sought)), abs=1e-6)


@pytest.mark.parametrize("method", ["skip-gram", "cbow"])
def test_king_minus_man_plus_woman_is_queen(tmp_path: Path, method: Any) -> None:
    out = tmp_path / "royal.bin"
    train_words(royal_sentences(), out, Training(method, dim=24, min_count=2))
    words = load_words(out)
    best = words.analogy("king", "man", "woman", k=3)
    assert best[0].word == "queen"
    assert best[0].score > best[1].score + 0.1
    assert words.analogy("actor", "man", "woman", k=1)[0].word == "actress"


def test_similar_words_come_best_first_without_the_word(four: WordEncoder) -> None:
    found = four.similar("CAT", 2)
    assert [each.word for each in found] == ["dog", "the"] or [each.word for each in found] == [
        "dog",
        "Paris",
    ]
    assert found[0].score == pytest.approx(2**-0.5, abs=1e-6)
    assert len(four.similar("cat", 99)) == 3


def test_the_odd_one_out_is_farthest_from_the_mean(four: WordEncoder) -> None:
    assert four.odd_one_out(["cat", "dog", "Paris"]) == "Paris"
    assert four.odd_one_out(["CAT", "Dog", "The"]) == "The", "as it was asked for"


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda words: words.similar("kat"), "four.txt has no vector for the word 'kat'"),
        (lambda words: words.similar("dogg"), r"no vector for the word 'dogg'\. Did you mean dog\?"),
        (lambda words: words.analogy("cat", "dog", "ox"), "no vector for the word 'ox'"),
        (lambda words: words.similar("cat", 0), "k, the number of words wanted, must be at least 1, not 0"),
        (lambda words: words.odd_one_out(["cat", "dog"]), "the odd one out is one of three words or more"),
        (lambda words: words.odd_one_out("cat"), "given as a list: 'cat'"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(four: WordEncoder, ask: Any, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        ask(four)


# --- training


def test_equal_training_gives_equal_files(tmp_path: Path) -> None:
    sentences = royal_sentences(300)
    text = tmp_path / "corpus.txt"
    text.write_text("\n".join(sentences), encoding="utf-8")
    chosen = Training(dim=8, min_count=2, seed=5)
    done = train_words(sentences, tmp_path / "a.txt", chosen)
    again = train_words(text, tmp_path / "b.txt", chosen)
    assert (done.words, done.dim) == (again.words, again.dim) == (len(load_words(done.path).words), 8)
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.txt").read_bytes()
    train_words(sentences, tmp_path / "c.txt", Training(dim=8, min_count=2, seed=6))
    assert (tmp_path / "a.txt").read_bytes() != (tmp_path / "c.txt").read_bytes()


def test_what_was_trained_has_its_counts_beside_it(royal: Path) -> None:
    counts = [line.split() for line in royal.with_name("royal.txt.vocab").read_text().splitlines()]
    assert [word for word, _ in counts] == list(load_words(royal).words)
    told = " ".join(royal_sentences()).lower()
    assert dict(counts)["queen"] == str(told.split().count("queen"))
    assert [int(count) for _, count in counts] == sorted((int(count) for _, count in counts), reverse=True)


def test_rare_words_are_left_out(tmp_path: Path) -> None:
    train_words(["yes yes no"], tmp_path / "a.txt", Training(dim=4, min_count=2))
    assert list(load_words(tmp_path / "a.txt").words) == ["yes"]


@pytest.mark.parametrize(
    ("texts", "options", "complaint"),
    [
        (
            ["a b c"],
            {},
            "no word occurs 5 times in the 3 words of the texts: give more text, or lower min_count",
        ),
        ([], {}, "no word occurs 5 times in the 0 words"),
        (["a", 5], {}, "input 1: a text must be a string, not int"),
        ("none.txt", {}, r"the texts in none\.txt cannot be read: No such file"),
        (["a"], {"method": "skipgram"}, "no training is called 'skipgram'. Did you mean skip-gram?"),
        (["a"], {"dim": 0}, "dim must be at least 1, not 0"),
        (["a"], {"epochs": -1}, "epochs must be at least 1, not -1"),
    ],
)
def test_training_on_nothing_is_refused(tmp_path: Path, texts: Any, options: Any, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        train_words(texts, tmp_path / "a.txt", Training(**options))
    assert not (tmp_path / "a.txt").exists()


def test_what_is_no_text_is_not_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"a b\xff\xfe")
    with pytest.raises(InvalidInput, match=r"corpus\.txt is not a text in UTF-8 \(byte 3\)"):
        train_words(path, tmp_path / "out.txt")


def test_vectors_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        train_words(["a a a"], tmp_path / "none" / "a.txt", Training(dim=2, min_count=1))
    with pytest.raises(InvalidInput, match=r"would be written plain: leave \.gz away"):
        train_words(["a a a"], tmp_path / "a.txt.gz", Training(dim=2, min_count=1))


# --- names


def test_a_path_is_written_in_one_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert canonical_name("words:a.txt?unknown=error") == f"words:{tmp_path}/a.txt?unknown=error"
    assert canonical_name(f"words:{tmp_path}/b/../a.txt") == f"words:{tmp_path}/a.txt"
    assert not cached("words:a.txt")
    vectors_file(tmp_path / "a.txt", FOUR)
    assert cached("words:a.txt")
    with pytest.raises(InvalidInput, match="a path is missing in the model name"):
        canonical_name("words:")


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gensim", None)
    for ask in (
        lambda: load_encoder("words:a.txt"),
        lambda: load_words("a.txt"),
        lambda: train_words(["a"], tmp_path / "a.txt"),
    ):
        with pytest.raises(MissingExtra, match=r"pip install 'clipkit\[text\]'"):
            ask()


def test_equal_vectors_elsewhere_are_the_same_model(tmp_path: Path) -> None:
    text = load_words(FORMATS["GloVe"](tmp_path))
    assert load_words(FORMATS["binary"](tmp_path)).fingerprint == text.fingerprint
    changed = {**FOUR, "the": [1.0, 0.0, 0.5]}
    assert load_words(vectors_file(tmp_path / "c.txt", changed)).fingerprint != text.fingerprint
    renamed = {"a" if word == "the" else word: row for word, row in FOUR.items()}
    assert load_words(vectors_file(tmp_path / "d.txt", renamed)).fingerprint != text.fingerprint
