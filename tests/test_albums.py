from __future__ import annotations

import io
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipkit import Collection, Hit, Query, load_encoder, sketch
from clipkit.albums import LARGEST_PICTURE, PICTURE_EDGE, Album, albums, delete, hits, missing, named, save
from clipkit.encoders import sources
from clipkit.errors import FilterError, ImageError, InvalidInput, QueryError
from clipkit.hiding import hide
from clipkit.lance import snapshots
from clipkit.refining import refined
from clipkit.testing import COLOURS, FakeEncoder
from tests.pictures import draw

RED = 1 / np.sqrt(1 + 0.25**2)  # of the text red against a red picture, see FakeEncoder
NAMES = [
    "By the sea",
    "O'Brien's \"best\" -- '; DROP TABLE albums",
    "家族の写真",
    "Family \N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}",
    "100%_\\",
    "a/b/../c",
    "-- x",
    "NULL",
    "x" * 100,
    ".",
]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for seed, colour in enumerate(("red", "red", "blue", "green")):
        draw(folder / f"{colour}-{seed}.jpg", seed, colour=colour)
    return folder


@pytest.fixture
def filled(collection: Collection, photos: Path) -> Collection:
    collection.index(photos)
    return collection


def names(found: Any) -> list[str]:
    return [Path(hit.id).stem for hit in found]


def id_of(photos: Path, name: str) -> str:
    return str((photos / f"{name}.jpg").resolve())


def picture(colour: str, *, edge: int = 40, format: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (edge, edge // 2), COLOURS[colour]).save(out, format, **options)
    return out.getvalue()


def vector(collection: Collection, id: str) -> Any:
    return collection.get([id])[0].vector


# --- kept, and given back


def test_an_album_comes_back_as_it_was_saved(filled: Collection, photos: Path) -> None:
    red, blue = id_of(photos, "red-0"), id_of(photos, "blue-2")
    full = Album(
        "Red things",
        'red - 0.5*blue + "a phrase"',
        good=[red],
        bad=[blue],
        where="width > 1 -- all",
        kind="image",
        min_score=0.1,
        hybrid=True,
        created=datetime(2020, 2, 29, 12, 30, 15, 999_999, UTC),
    )
    plain = Album("plain", "red", min_score="auto")
    only_good = Album("good only", good=(blue,))
    assert [save(filled, album) for album in (plain, full, only_good)] == [plain, full, only_good]
    assert albums(filled) == [full, plain, only_good], "the oldest first"
    opened = Collection.open(db=filled.db, encoder=FakeEncoder())
    assert albums(opened) == [full, plain, only_good]
    assert named(opened, "Red things") == full
    assert (full.good, full.bad, full.named) == ((red,), (blue,), (red, blue))
    assert named(opened, "plain").created.tzinfo is not None


def test_a_collection_without_albums_has_none_and_no_table(filled: Collection) -> None:
    assert albums(filled) == []
    with pytest.raises(InvalidInput, match=r"no album 'x'\. There is none yet: save one first"):
        named(filled, "x")
    with pytest.raises(InvalidInput, match="no album 'x'"):
        delete(filled, "x")
    assert not (Path(filled.db) / "default.albums.lance").exists()
    save(filled, Album("x", "red"))
    assert Collection.names(filled.db) == ["default"]
    assert albums(Collection.create("other", db=filled.db, encoder=FakeEncoder())) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_any_text_of_one_line(filled: Collection, name: str) -> None:
    save(filled, Album("another", "blue"))
    save(filled, Album(name, "red"))
    assert named(filled, name).query == "red"
    with pytest.raises(InvalidInput, match="already: take another name, or replace it"):
        save(filled, Album(name, "blue"))
    assert {album.name for album in albums(filled)} == {name, "another"}
    delete(filled, name)
    assert [album.name for album in albums(filled)] == ["another"]


def test_a_name_is_one_however_it_was_typed(filled: Collection) -> None:
    composed = "Café"
    save(filled, Album(f"  {unicodedata.normalize('NFD', composed)} ", "red"))
    assert [album.name for album in albums(filled)] == [composed]
    assert named(filled, f"{composed} ").query == "red"
    with pytest.raises(InvalidInput, match=r"no album 'café'\. Did you mean Café\?"):
        named(filled, "café")


@pytest.mark.parametrize(
    "name", ["", "   ", "a\nb", "a\tb", "\0", "\ud800", "a\N{LINE SEPARATOR}b", "x" * 101, 7]
)
def test_a_name_that_an_album_cannot_have_is_refused(filled: Collection, name: Any) -> None:
    with pytest.raises(InvalidInput, match="cannot name an album: it takes a text of one line, of 1 to 100"):
        Album(name, "red")
    with pytest.raises(InvalidInput, match="cannot name an album"):
        named(filled, name)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({}, InvalidInput, "the album 'x' has nothing to look for: give a query or a good item"),
        ({"bad": ["a"]}, InvalidInput, "has nothing to look for"),
        ({"query": "red +"}, QueryError, "nothing stands behind this"),
        ({"query": ""}, QueryError, "the query is empty"),
        ({"query": "red", "good": ["a"], "bad": ["a"]}, InvalidInput, "'a' is both good and bad"),
        ({"query": "red", "good": "a"}, InvalidInput, "a list is wanted, not one string"),
        ({"query": "red", "min_score": 1.5}, InvalidInput, "min_score is a cosine similarity"),
        ({"query": "red", "where": "id = 'x') OR (true"}, FilterError, "closes a parenthesis"),
        ({"query": "red", "created": datetime(2020, 1, 1)}, InvalidInput, "needs a time zone"),
    ],
)
def test_what_could_be_no_album_is_refused_at_once(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Album("x", **fields)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"query": "red", "good": ["nobody"]}, InvalidInput, "there is no item 'nobody'"),
        ({"query": "red", "bad": ["nobody"]}, InvalidInput, "there is no item 'nobody'"),
        ({"query": "red + id:nobody"}, InvalidInput, "there is no item 'nobody'"),
        ({"query": "red", "where": "wdth > 1"}, FilterError, "no column 'wdth'"),
        ({"query": "red", "kind": "film"}, InvalidInput, "kind is 'image' or 'text', not 'film'"),
        ({"query": "image:/nowhere/x.jpg"}, ImageError, "does not exist"),
        ({"query": Query.image(b"no picture")}, ImageError, "not an image"),
        (
            {"query": Query.vector([1.0] * 32)},
            InvalidInput,
            "has a vector, which only one model understands: name",
        ),
    ],
)
def test_what_the_collection_cannot_answer_is_not_saved(
    filled: Collection, fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        save(filled, Album("x", **fields))
    assert albums(filled) == []


def test_a_replaced_album_is_the_new_one(filled: Collection, photos: Path) -> None:
    first = save(filled, Album("x", "red", min_score="auto"))
    second = save(filled, replace(first, good=(id_of(photos, "blue-2"),)), replace=True)
    assert albums(filled) == [second]
    assert second.created == first.created
    save(filled, Album("new", "blue"), replace=True)
    assert [album.name for album in albums(filled)] == ["x", "new"]


# --- what is in it


def test_an_album_fills_itself(filled: Collection, photos: Path) -> None:
    album = save(filled, Album("Red", "red", kind="image", min_score=0.5))
    assert names(hits(filled, album)) == ["red-0", "red-1"]
    draw(photos / "more" / "red-9.jpg", 9, colour="red")
    draw(photos / "more" / "pink-8.jpg", 8, colour="pink")
    filled.index(photos)
    opened = Collection.open(db=filled.db, encoder=FakeEncoder())
    assert set(names(hits(opened, named(opened, "Red")))) == {"red-0", "red-1", "red-9"}
    assert [hit.score for hit in hits(opened, album)] == pytest.approx([RED] * 3, abs=1e-6)
    filled.delete([id_of(photos, "red-0")])
    assert set(names(hits(opened, album))) == {"red-1", "red-9"}


def test_it_has_what_the_refined_query_finds(filled: Collection, photos: Path) -> None:
    good, bad = [id_of(photos, "blue-2")], [id_of(photos, "red-0")]
    album = Album("x", "red", good=good, bad=bad)
    found = hits(filled, album)
    expected = filled.search(refined(filled, "red", good=good, bad=bad), k=10)
    assert names(found) == ["blue-2", "red-1", "green-3"]
    scores = {hit.id: hit.score for hit in expected}
    assert [hit.score for hit in found] == pytest.approx([scores[hit.id] for hit in found], abs=1e-6)
    direction = np.array(filled.encoder.encode_texts(["red"])[0], float)
    direction += 0.75 * vector(filled, good[0]) - 0.15 * vector(filled, bad[0])
    direction /= np.linalg.norm(direction)
    assert found[0].score == pytest.approx(float(direction @ vector(filled, good[0])), abs=1e-6)
    assert found.to_arrow().num_rows == 3
    assert names(hits(filled, album, k=1)) == ["blue-2"]
    assert names(hits(filled, album, k=2)) == ["blue-2", "red-1"]
    with pytest.raises(InvalidInput, match="k, the number of hits wanted, is a whole number of at least 1"):
        hits(filled, album, k=0)


def test_good_items_come_first_whatever_filters_and_bad_ones_never(filled: Collection, photos: Path) -> None:
    filled.add_texts(["green leaves"], ids=["text"])
    good = [id_of(photos, "green-3"), id_of(photos, "blue-2"), "text"]
    strict = Album(
        "x", "red + 0.1*blue", good=good, bad=[id_of(photos, "red-0")], kind="image", min_score=0.5
    )
    found = hits(filled, replace(strict, where="uri LIKE '%red%'"))
    assert set(names(found)[:3]) == {"green-3", "blue-2", "text"}
    assert [hit.score for hit in found[:3]] == sorted((hit.score for hit in found[:3]), reverse=True)
    assert names(found)[3:] == ["red-1"]
    assert names(hits(filled, replace(strict, where="uri LIKE '%blue%'")))[3:] == []
    assert len(hits(filled, strict, k=2)) == 2


def test_what_is_hidden_is_not_in_it(filled: Collection, photos: Path) -> None:
    album = save(filled, Album("x", "red", good=[id_of(photos, "blue-2"), id_of(photos, "green-3")]))
    hide(filled, [id_of(photos, "blue-2"), id_of(photos, "red-0")])
    assert names(hits(filled, album)) == ["green-3", "red-1"]
    assert names(hits(filled, Album("y", "red", where="hidden")))[-1:] == ["blue-2"]
    assert missing(filled, album) == []


def test_items_named_in_the_query_are_left_out_unless_they_are_good(filled: Collection, photos: Path) -> None:
    red = id_of(photos, "red-0")
    assert names(hits(filled, Album("x", f"id:{red}", min_score=0.5))) == ["red-1"]
    found = hits(filled, Album("x", f"id:{red} + red", good=[red], min_score=0.5))
    assert names(found) == ["red-0", "red-1"]


@pytest.mark.parametrize("good", [[], ["notes"]])
def test_words_count_in_a_hybrid_album(filled: Collection, good: list[str]) -> None:
    filled.add_texts(["the harbour of Bergen", "nothing"], ids=["notes", "other"])
    album = save(filled, Album("x", "Bergen", hybrid=True, good=good, kind="text"))
    assert [hit.id for hit in hits(filled, album)] == ["notes", "other"]


def test_the_automatic_cut_off_is_told(collection: Collection) -> None:
    rows = ["red"] * 5 + [f"word{at}" for at in range(60)]
    collection.add_texts(rows, ids=[f"{at:02}" for at in range(len(rows))])
    plain = hits(collection, Album("x", "red", min_score="auto"))
    assert [hit.id for hit in plain] == ["00", "01", "02", "03", "04"]
    assert plain.cutoffs.keys() == {"text"}
    refined_ones = hits(collection, Album("x", "red", good=["64"], min_score="auto"))
    assert [hit.id for hit in refined_ones] == ["64", "00", "01", "02", "03", "04"]
    assert refined_ones.cutoffs.keys() == {"text"}


# --- items that go


def test_items_that_are_gone_are_passed_over_and_told(filled: Collection, photos: Path) -> None:
    red, blue, green = (id_of(photos, name) for name in ("red-0", "blue-2", "green-3"))
    album = save(filled, Album("x", f"red + id:{green}", good=[blue], bad=[red]))
    filled.delete([red])
    assert missing(filled, album) == [red]
    filled.delete([blue, green])
    assert missing(filled, album) == [blue, red, green]
    assert names(hits(filled, album)) == ["red-1"]
    assert hits(filled, album)[0].score == pytest.approx(RED, abs=1e-6)
    filled.index(photos)
    assert missing(filled, album) == []


def test_an_album_of_which_nothing_is_left_says_so(filled: Collection, photos: Path) -> None:
    blue, green = id_of(photos, "blue-2"), id_of(photos, "green-3")
    album = save(filled, Album("x", f"id:{green}", good=[blue]))
    filled.delete([blue, green])
    with pytest.raises(
        InvalidInput, match=r"looks for nothing is left in 'default' .*blue-2.*: save it again"
    ):
        hits(filled, album)


def test_a_change_of_the_model_changes_no_album(filled: Collection, photos: Path) -> None:
    query = Query.text("red") + 0.5 * Query.image(picture("blue"))
    album = save(filled, Album("x", query, good=[id_of(photos, "red-1")]))
    before = names(hits(filled, album))
    filled.reindex(FakeEncoder(48))
    assert named(filled, "x") == album
    assert names(hits(filled, album))[:3] == before[:3] == ["red-1", "red-0", "blue-2"]
    filled.add_texts(["red"], ids=["late"])
    late = save(filled, Album("late", "blue", good=["late"]))
    filled.reindex_back()
    back = Collection.open(db=filled.db, encoder=FakeEncoder())
    assert missing(back, late) == ["late"]
    assert names(hits(back, late, k=1)) == ["blue-2"]


# --- pictures in the query


def test_an_upload_is_kept_as_a_picture(filled: Collection) -> None:
    upload = picture("blue")
    album = save(filled, Album("x", Query.text("red") - 2 * Query.image(upload)))
    assert named(filled, "x") == album
    assert album.query == Query.text("red") - 2 * Query.image(upload), "one so small is kept as it is"
    assert str(album.query) == "red - 2*image:<bytes>"
    assert names(hits(filled, Album("y", Query.image(upload)), k=1)) == ["blue-2"]
    assert names(hits(filled, album))[-1] == "blue-2"


def test_a_file_is_kept_as_a_picture_and_may_go(
    filled: Collection, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    draw(tmp_path / "like this.jpg", 99, edge=3 * PICTURE_EDGE, colour="green")
    album = save(filled, Album("x", "image:'~/like this.jpg'"))
    (tmp_path / "like this.jpg").unlink()
    assert names(hits(filled, named(filled, "x"), k=1)) == ["green-3"]
    assert isinstance(album.query, Query)
    [part] = album.query.parts
    with Image.open(io.BytesIO(part.value)) as kept:
        assert (kept.format, kept.size) == ("JPEG", (PICTURE_EDGE, PICTURE_EDGE))
    again = save(filled, replace(album, good=(id_of(photos, "red-0"),)), replace=True)
    assert again.query == album.query, "kept once more, it loses nothing"


@pytest.mark.parametrize("kind", ["array", "PIL", "large", "wide"])
def test_whatever_a_query_takes_for_a_picture_is_kept_small(filled: Collection, kind: str) -> None:
    image: Any = {
        "array": np.full((30, 20, 3), COLOURS["green"], np.uint8),
        "PIL": Image.new("RGB", (4000, 10), COLOURS["green"]),
        "large": picture("green") + bytes(LARGEST_PICTURE),
        "wide": picture("green", edge=2 * PICTURE_EDGE),
    }[kind]
    save(filled, Album("x", Query.image(image)))
    kept = named(filled, "x").query
    assert isinstance(kept, Query)
    assert len(kept.parts[0].value) < 20_000
    assert names(hits(filled, named(filled, "x"), k=1)) == ["green-3"]


def test_a_picture_lies_as_the_model_wants_it(db: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    upload = picture("green", edge=4 * PICTURE_EDGE, format="JPEG", exif=exif)
    for upright, size in ((True, (256, 512)), (False, (512, 256))):
        collection = Collection.create(f"up-{upright}", db=db, encoder=FakeEncoder(upright=upright))
        query = save(collection, Album("x", Query.image(upload))).query
        assert isinstance(query, Query)
        assert Image.open(io.BytesIO(query.parts[0].value)).size == size


# --- several at once, snapshots


SAVER = """
import sys
from clipkit import Collection
from clipkit.albums import Album, save
from clipkit.errors import InvalidInput
from clipkit.testing import FakeEncoder

db, me = sys.argv[1:]
collection = Collection.open(db=db, encoder=FakeEncoder())
print("ready", flush=True)
sys.stdin.readline()
taken = 0
for n in range(20):
    save(collection, Album(f"{me} {n}", "red"))
    save(collection, Album("last", f"word{me}"), replace=True)
    try:
        save(collection, Album(f"shared {n}", f"word{me}"))
    except InvalidInput as error:
        assert "already" in str(error)
        taken += 1
print(taken)
"""


def test_processes_that_save_at_once_lose_nothing(filled: Collection) -> None:
    """Also the first of all, which makes the table."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SAVER, filled.db, me],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for me in ("a", "b")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    taken = [int(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(taken) == 20, "of two that save one name, one is told"
    saved = albums(filled)
    expected = {f"{who} {n}" for who in ("a", "b", "shared") for n in range(20)} | {"last"}
    assert len(saved) == 61
    assert {album.name for album in saved} == expected


def test_threads_that_save_one_name_agree_on_one(filled: Collection) -> None:
    def attempt(n: int) -> str:
        try:
            return str(save(filled, Album("one", f"word{n}")).query)
        except InvalidInput as error:
            return str(error)

    with ThreadPoolExecutor(6) as threads:
        said = list(threads.map(attempt, range(6)))
    [album] = albums(filled)
    assert said.count(str(album.query)) == 1
    assert sum("there is an album 'one' already" in one for one in said) == 5


def test_albums_outlive_what_a_snapshot_undoes(
    filled: Collection, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "SETTLE_S", 0.0)  # nobody else cleans up
    first = save(filled, Album("first", "red", good=[id_of(photos, "blue-2")]))
    filled.snapshot("before")
    draw(photos / "red-9.jpg", 9, colour="red")
    filled.index(photos)
    later = datetime.now(UTC) + timedelta(seconds=1)
    second = save(filled, Album("second", "red", good=[id_of(photos, "red-9")], created=later))
    delete(filled, "first")
    filled.restore("before")
    assert albums(filled) == [second]
    assert missing(filled, second) == [id_of(photos, "red-9")]
    assert set(names(hits(filled, second))) == {"red-0", "red-1", "blue-2", "green-3"}
    save(filled, first)
    assert names(hits(filled, first, k=1)) == ["blue-2"]


# --- with a model that knows meaning


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 drawn scenes in one folder, 80 others in another. A name begins with its seed, of four digits."""
    folder = tmp_path_factory.mktemp("scenes")
    for seed in range(160):
        part = folder / ("first" if seed < 80 else "second")
        part.mkdir(exist_ok=True)
        sketch.draw(sketch.scene(seed), size=256).save(part / f"{seed:04}.jpg")
    return folder


@pytest.mark.skipif(
    not (sources.BUNDLED / "open_clip_model.safetensors").is_file(),
    reason="clipkit/bundled holds no weights in this checkout",
)
@pytest.mark.parametrize("setting", ["night", "sea", "desert"])
def test_feedback_says_what_the_query_does_not(db: Path, scenes: Path, setting: str) -> None:
    """Three good pictures and three bad ones, for a query that fits them all alike."""
    collection = Collection.create(db=db, encoder=load_encoder("bundled", device="cpu", precision="fp32"))
    collection.index(scenes / "first")

    def is_wanted(hit: Hit) -> bool:
        return sketch.scene(int(Path(hit.id).name[:4])).setting == setting

    everything = collection.search("a picture", k=999)
    good = [hit.id for hit in everything if is_wanted(hit)][:3]
    bad = [hit.id for hit in everything if not is_wanted(hit)][:3]
    album = save(collection, Album(setting, "a picture", good=good, bad=bad))
    plain = [hit for hit in everything if hit.id not in good][:10]
    moved = list(hits(collection, album, k=13))[3:]
    assert sum(map(is_wanted, moved)) >= 2 * sum(map(is_wanted, plain)) + 2

    collection.index(scenes / "second")
    later = [hit for hit in hits(collection, album, k=13) if "second" in hit.id]
    assert sum(map(is_wanted, later)) >= 2, "it has filled itself with pictures of the same kind"
