from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clipkit import Collection
from clipkit.errors import FilterError, InvalidInput
from clipkit.hiding import NOT_HIDDEN, hidden, hide, unhide, visible
from clipkit.testing import FakeEncoder
from tests.pictures import draw


@pytest.fixture
def words(collection: Collection) -> Collection:
    collection.add_texts(["red", "blue", "green"], ids=["r", "b", "g"])
    return collection


def found(collection: Collection, where: str | None = None) -> list[str]:
    return sorted(hit.id for hit in collection.search("red", where=visible(collection, where)))


def test_what_is_hidden_is_kept_and_not_found_until_it_is_shown_again(words: Collection) -> None:
    assert (visible(words), visible(words, "id = 'r'"), hidden(words)) == (None, "id = 'r'", [])
    assert words.columns == {}
    assert hide(words, ["b", "r", "b", "nobody"]) == 2
    assert words.columns == {"hidden": "bool"}
    assert hidden(words) == ["b", "r"]
    assert found(words) == ["g"]
    assert words.count() == 3
    assert unhide(words, ["r"]) == 1
    assert (hidden(words), found(words)) == (["b"], ["g", "r"])
    words.add_texts(["pink"], ids=["p"])
    assert found(words) == ["g", "p", "r"]
    words.add_texts(["blue again"], ids=["b"])
    assert hidden(words) == ["b"], "an item that is replaced keeps its other columns"


def test_the_filter_stands_beside_others_and_leaves_one_of_its_own_alone(words: Collection) -> None:
    hide(words, ["r"])
    assert visible(words) == NOT_HIDDEN
    assert found(words, "id IN ('r', 'g') -- two of them") == ["g"]
    assert found(words, "id = 'r' OR id = 'b'") == ["b"]
    assert found(words, "hidden") == ["r"]
    assert found(words, "HIDDEN OR id = 'g'") == ["g", "r"]
    assert found(words, "id <> 'hidden'") == ["b", "g"]
    for broken in ("", "id = 'r') OR (true", "id = 'r"):
        with pytest.raises(FilterError, match="filter"):
            visible(words, broken)


def test_nothing_hidden_needs_no_column(words: Collection) -> None:
    assert unhide(words, ["r", "nobody"]) == 1
    assert hide(words, []) == 0
    assert (hidden(words), words.columns) == ([], {})


def test_captions_are_hidden_with_their_picture(collection: Collection, tmp_path: Path) -> None:
    picture = draw(tmp_path / "a.jpg", 1, colour="red")
    draw(tmp_path / "b.jpg", 2, colour="blue")
    picture.with_suffix(".txt").write_text("red one\nred two\n", encoding="utf-8")
    collection.index(tmp_path)
    assert len(found(collection)) == 4
    identity = str(picture.resolve())
    assert hide(collection, [identity]) == 1
    assert hidden(collection) == [identity]
    assert found(collection) == [str(tmp_path.resolve() / "b.jpg")]
    caption = collection.to_arrow(columns=["id"], where="text = 'red one' AND kind = 'text'")["id"][0].as_py()
    assert unhide(collection, [identity, caption]) == 2
    assert (len(found(collection)), hidden(collection)) == (4, [])
    hide(collection, [caption])
    assert hidden(collection) == [caption]


def test_several_at_once_make_one_column_and_lose_nothing(words: Collection) -> None:
    for at in range(3):
        collection = Collection.create(f"c{at}", db=words.db, encoder=FakeEncoder())
        ids = [f"{n}" for n in range(6)]
        collection.add_texts(["red"] * 6, ids=ids)
        others = [Collection.open(f"c{at}", db=words.db, encoder=FakeEncoder()) for _ in ids]
        with ThreadPoolExecutor(len(ids)) as threads:
            assert list(threads.map(lambda one, id: hide(one, [id]), others, ids)) == [1] * 6
        assert hidden(collection) == ids
        assert collection.columns == {"hidden": "bool"}


@pytest.mark.parametrize(("name", "kind"), [("hidden", str), ("hidden", int), ("Hidden", bool)])
def test_a_column_of_the_users_is_left_alone(db: Path, name: str, kind: type) -> None:
    collection = Collection.create(db=db, encoder=FakeEncoder(), columns={name: kind})
    collection.add_texts(["red"], ids=["r"])
    message = "column 'hidden' of 'default' holds" if name == "hidden" else "a column 'Hidden' already"
    with pytest.raises(InvalidInput, match=message):
        hide(collection, ["r"])
    assert visible(collection, "id = 'r'") == "id = 'r'"
    assert found(collection) == ["r"]


def test_a_bool_of_the_users_is_taken_as_it_is(db: Path) -> None:
    collection = Collection.create(db=db, encoder=FakeEncoder(), columns={"hidden": bool})
    collection.add_texts(["red", "red"], ids=["a", "b"], metadata=[{"hidden": True}, {}])
    assert (hidden(collection), found(collection)) == (["a"], ["b"])


def test_ids_are_a_list_of_strings(words: Collection) -> None:
    with pytest.raises(InvalidInput, match="a list is wanted, not one string"):
        hide(words, "r")
    with pytest.raises(InvalidInput, match="an id must not be empty or blank"):
        unhide(words, [" "])
