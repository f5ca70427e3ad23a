from __future__ import annotations

from pathlib import Path

import pytest

from clipkit import Collection
from clipkit.albums import Album, albums, named
from tests.command_line import Result, Run
from tests.pictures import draw


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for seed, name in enumerate(("red-a", "red-b", "blue", "green")):
        draw(folder / f"{name}.jpg", seed, colour=name.partition("-")[0])
    return folder.resolve()


@pytest.fixture
def collection(own_home: Path, photos: Path) -> Collection:
    collection = Collection.create(encoder="fake")
    collection.index(photos)
    return collection


def shown(result: Result) -> list[str]:
    return [Path(line.split("\t")[1]).stem for line in result.out.splitlines()]


def test_an_album_is_saved_listed_shown_and_deleted(collection: Collection, photos: Path, run: Run) -> None:
    empty = run("album", "list")
    assert (empty.out, empty.err) == ("", "there is none; to save one:  clipkit album save NAME QUERY\n")
    blue = str(photos / "blue.jpg")
    saved = run("album", "save", "My reds", "red", "-", "green", "--good", blue, "--min-score", "0.5")
    assert (saved.code, saved.out) == (0, "saved My reds\n")
    assert saved.err == "to see it:  clipkit album show 'My reds'\n"
    [album] = albums(collection)
    assert album == Album("My reds", "red - green", [blue], min_score=0.5, created=album.created)

    [line] = run("album", "list").out.splitlines()
    assert line.split("\t")[::2] == ["My reds", "red - green  (1 good)"]
    found = run("album", "show", "My reds")
    assert (found.code, found.err) == (0, "")
    assert shown(found) == ["blue", "red-a", "red-b"]
    assert shown(run("album", "show", "My reds", "-k", 1)) == ["blue"]

    draw(photos / "later" / "red-c.jpg", 9, colour="red")
    collection.index(photos)
    assert set(shown(run("album", "show", "My reds"))) == {"blue", "red-a", "red-b", "red-c"}
    assert run("album", "delete", "My reds").out == "deleted the album My reds\n"
    assert albums(collection) == []


def test_paths_name_items_and_come_out_for_other_programs(
    collection: Collection, photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.add_texts(["a word"], ids=["word"])
    monkeypatch.chdir(photos)
    given = ("--good", "blue.jpg", "--good", "word", "--bad", "green.jpg", "--until", "1900")
    assert run("album", "save", "x", *given).code == 0
    album = named(collection, "x")
    assert (album.good, album.bad) == ((f"{photos / 'blue.jpg'}", "word"), (f"{photos / 'green.jpg'}",))
    assert album.query is None
    assert set(shown(run("album", "show", "x"))) == {"blue", "a word"}
    assert run("album", "show", "x", "--paths").out == f"{photos / 'blue.jpg'}\n"
    assert run("album", "show", "x", "--print0").out == f"{photos / 'blue.jpg'}\0"
    assert run("album", "list").out.rstrip().endswith("\t2 good, 1 bad")


def test_albums_as_json(collection: Collection, photos: Path, run: Run) -> None:
    blue = str(photos / "blue.jpg")
    options = ("--kind", "image", "--hybrid", "--where", "width > 1", "--min-score", "auto")
    saved = run("album", "save", "x", "red", "--bad", blue, *options, "--json").json
    created = named(collection, "x").created.isoformat()
    document = {
        "name": "x",
        "query": "red",
        "good": [],
        "bad": [blue],
        "where": "width > 1",
        "kind": "image",
        "min_score": "auto",
        "hybrid": True,
        "created": created,
    }
    assert saved == {"collection": "default", "album": document}
    assert run("album", "list", "--json").json == {"albums": [document]}
    found = run("album", "show", "x", "--json").json
    assert (found["album"], found["missing"]) == (document, [])
    assert {Path(hit["id"]).stem for hit in found["hits"]} == {"red-a", "red-b", "green"}
    again = run("album", "save", "x", "blue", "--json")
    assert (again.code, again.json["error"]["type"]) == (2, "InvalidInput")
    assert run("album", "save", "x", "blue", "--replace", "--json").json["album"]["query"] == "blue"
    assert run("album", "delete", "x", "--json").json == {"collection": "default", "deleted": "x"}


def test_what_is_gone_is_told_beside_the_hits(collection: Collection, photos: Path, run: Run) -> None:
    blue = str(photos / "blue.jpg")
    run("album", "save", "x", "red", "--good", blue, "--min-score", "0.5")
    collection.delete([blue])
    found = run("album", "show", "x")
    assert (found.code, shown(found)) == (0, ["red-a", "red-b"])
    assert found.err == f"1 item that it names cannot be found any more: {blue}\n"
    assert run("album", "show", "x", "--json").json["missing"] == [blue]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["save", "x"], "the album 'x' has nothing to look for: give a query or a good item"),
        (["save", "x", "red", "--good", "nobody"], "there is no item 'nobody'"),
        (["save", "x", "red", "--where", "wdth > 1"], "there is no column 'wdth'"),
        (["save", " ", "red"], "cannot name an album"),
        (["show", "sunst"], "there is no album 'sunst'. Did you mean sunset?"),
        (["delete", "sunst"], "there is no album 'sunst'. Did you mean sunset?"),
        ([], "Missing command.\n  clipkit album --help  shows how"),
    ],
)
def test_a_wrong_call_is_told(collection: Collection, run: Run, arguments: list[str], message: str) -> None:
    run("album", "save", "sunset", "orange")
    result = run("album", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_hidden_items_are_out_of_searches_until_they_are_shown_again(
    collection: Collection, photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.add_texts(["a red word"], ids=["word"])
    monkeypatch.chdir(photos)
    run("album", "save", "x", "red", "--kind", "image", "--min-score", "0.5")
    assert len(run("describe", "red-a.jpg").out.splitlines()) == 1
    hid = run("hide", "red-a.jpg", "word", "nobody")
    assert (hid.code, hid.out, hid.err) == (0, "hidden 2\n", "not in the collection: nobody\n")
    assert set(shown(run("search", "red"))) == {"red-b", "blue", "green"}
    assert shown(run("search", "red", "--where", "width > 1", "-k", 1)) == ["red-b"]
    assert set(shown(run("search", "red", "--where", "hidden"))) == {"red-a", "a red word"}
    assert run("describe", "red-a.jpg").out == ""
    assert shown(run("album", "show", "x")) == ["red-b"]
    assert run("hide", "--undo", "word", "--json").json == {"collection": "default", "shown": 1}
    assert run("hide", "word", "--json").json == {"collection": "default", "hidden": 1}
    assert run("hide", "--undo", "red-a.jpg").out == "shown again 1\n"
    assert shown(run("album", "show", "x")) == ["red-a", "red-b"]
