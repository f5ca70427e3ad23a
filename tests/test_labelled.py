from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipkit import sketch
from clipkit.errors import ImageError, InvalidInput
from clipkit.images import open_image
from clipkit.labelled import Columns, Labelled, Truth, open_labelled, read_names


def jpeg(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "JPEG")
    return out.getvalue()


def parquet(path: Path, columns: dict[str, Any], metadata: dict[str, str] | None = None) -> Path:
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def truths(data: Labelled) -> list[tuple[str, Truth]]:
    return [(row.name, row.truth) for row in data.rows()]


# --- Parquet


def test_rows_of_a_file_have_their_bytes_and_classes(tmp_path: Path) -> None:
    file = parquet(
        tmp_path / "data.parquet",
        {
            "wnid": ["n02", "n01", "n02"],
            "label": ["crane, derrick", "crane", "crane, derrick"],
            "jpeg": [jpeg(), jpeg("blue"), b"no picture"],
        },
    )
    data = open_labelled(file)
    assert (data.name, data.total, data.captioned) == (str(file), 3, False)
    assert data.classes == {"n01": ("crane",), "n02": ("crane", "derrick")}
    assert truths(data) == [("row 0", Truth("n02")), ("row 1", Truth("n01")), ("row 2", Truth("n02"))]
    assert [row.read() for row in data.rows()] == [jpeg(), jpeg("blue"), b"no picture"]


def test_several_files_are_counted_through(tmp_path: Path) -> None:
    for name, label in (("b", "cat"), ("a", "dog")):
        parquet(tmp_path / f"{name}.parquet", {"image": [jpeg()] * 2, "class": [label] * 2})
    data = open_labelled(tmp_path)
    assert data.total == 4
    assert truths(data)[1:3] == [("row 1", Truth("dog")), ("row 2", Truth("cat"))]
    assert list(data.classes) == ["cat", "dog"]


def test_more_rows_than_are_read_at_once_come_in_order(tmp_path: Path) -> None:
    file = parquet(tmp_path / "x.parquet", {"png": [jpeg()] * 200, "label": [f"l{i}" for i in range(200)]})
    assert [row.truth.label for row in open_labelled(file).rows()] == [f"l{i}" for i in range(200)]


def test_the_format_of_the_datasets_library_is_understood(tmp_path: Path) -> None:
    features = {"label": {"names": ["tench", "golden_retriever"], "_type": "ClassLabel"}}
    file = parquet(
        tmp_path / "x.parquet",
        {"image": [{"bytes": jpeg(), "path": None}, {"bytes": None, "path": "x.jpg"}], "label": [1, 0]},
        {"huggingface": json.dumps({"info": {"features": features}})},
    )
    data = open_labelled(file)
    assert data.classes == {"0": ("tench",), "1": ("golden retriever",)}
    first, second = data.rows()
    assert (first.read(), first.truth) == (jpeg(), Truth("1"))
    with pytest.raises(ImageError, match="has no picture"):
        second.read()


def test_numbers_need_names(tmp_path: Path) -> None:
    file = parquet(tmp_path / "x.parquet", {"image": [jpeg()], "label": [3]})
    with pytest.raises(InvalidInput, match="'3' is the number of a class: give the names"):
        open_labelled(file)
    assert open_labelled(file, names={"3": ("dog",), "4": ("cat",)}).classes == {"3": ("dog",), "4": ("cat",)}
    with pytest.raises(InvalidInput, match="have none for '3', a class of the data"):
        open_labelled(file, names={"4": ("cat",)})


def test_captions_are_a_text_or_a_list(tmp_path: Path) -> None:
    one = parquet(tmp_path / "1.parquet", {"image": [jpeg()] * 3, "caption": [" a dog ", "", None]})
    assert open_labelled(one).captioned
    assert [row.truth for row in open_labelled(one).rows()] == [Truth(captions=("a dog",)), Truth(), Truth()]
    many = parquet(tmp_path / "2.parquet", {"image": [jpeg()], "text": [["a dog", " ", "a pet"]]})
    assert [row.truth.captions for row in open_labelled(many).rows()] == [("a dog", "a pet")]


def test_a_row_without_a_label_has_no_truth(tmp_path: Path) -> None:
    file = parquet(tmp_path / "x.parquet", {"image": [jpeg()] * 2, "label": ["dog", None]})
    assert [row.truth for row in open_labelled(file).rows()] == [Truth("dog"), Truth()]


def test_columns_can_be_named(tmp_path: Path) -> None:
    file = parquet(tmp_path / "x.parquet", {"what": ["dog"], "shot": [jpeg()], "said": ["a dog"]})
    data = open_labelled(file, columns=Columns("shot", "what", "said"))
    assert [row.truth for row in data.rows()] == [Truth("dog", ("a dog",))]
    with pytest.raises(InvalidInput, match=r"no column 'shto'\. Did you mean shot\?"):
        open_labelled(file, columns=Columns("shto"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"shot": [b""], "label": ["dog"]},
            "no column of pictures; its columns are shot, label. Name the right",
        ),
        ({"image": ["x.jpg"], "label": ["dog"]}, "no bytes in its column 'image'"),
        ({"image": [b""], "what": ["dog"]}, "no column of labels or captions that is known by its name"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.string())}, "holds no rows"),
    ],
)
def test_a_file_that_does_not_say_enough_is_told(tmp_path: Path, columns: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        open_labelled(parquet(tmp_path / "x.parquet", columns))


def test_a_file_that_is_no_parquet_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InvalidInput, match=r"x\.parquet is not a whole Parquet file"):
        open_labelled(tmp_path / "x.parquet")


def test_files_of_different_columns_are_told(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", {"image": [jpeg()], "label": ["dog"]})
    parquet(tmp_path / "b.parquet", {"image": [jpeg()]})
    with pytest.raises(InvalidInput, match=r"b\.parquet has no column 'label', but a\.parquet has"):
        open_labelled(tmp_path)


# --- folders


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg())
    return path


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    deep = picture(tmp_path / "golden_retriever" / "2024" / "1.jpg")
    cat = picture(tmp_path / "cat" / "1.png")
    loose = picture(tmp_path / "loose.jpg")
    data = open_labelled(tmp_path)
    assert data.classes == {"cat": ("cat",), "golden_retriever": ("golden retriever",)}
    assert truths(data) == [(str(cat), Truth("cat")), (str(deep), Truth("golden_retriever"))]
    assert [row.read() for row in data.rows()] == [str(cat), str(deep)]
    assert [(f.id, f.reason) for f in data.failures] == [(str(loose), "belongs to no class")]


def test_folders_of_wordnet_ids_need_names(tmp_path: Path) -> None:
    picture(tmp_path / "n02099601" / "1.jpg")
    with pytest.raises(InvalidInput, match="'n02099601' is the number of a class"):
        open_labelled(tmp_path)
    names = {"n02099601": ("golden retriever",)}
    assert open_labelled(tmp_path, names=names).classes == names


def test_a_class_can_stand_in_the_file_name(tmp_path: Path) -> None:
    dog = picture(tmp_path / "n02099601_golden_retriever.JPEG")
    data = open_labelled(tmp_path)
    assert data.classes == {"n02099601": ("golden retriever",)}
    assert truths(data) == [(str(dog), Truth("n02099601"))]


def test_captions_stand_beside_the_pictures(tmp_path: Path) -> None:
    first, second = picture(tmp_path / "a" / "1.jpg"), picture(tmp_path / "b.tar.png")
    first.with_suffix(".txt").write_text("a dog\n\n  a pet \n", encoding="utf-8")
    (tmp_path / "b.tar.txt").write_bytes(b"\xef\xbb\xbfa cat\r\n")
    third = picture(tmp_path / "c.jpg")
    data = open_labelled(tmp_path)
    assert data.captioned
    assert not data.classes
    assert dict(truths(data)) == {
        str(first): Truth(captions=("a dog", "a pet")),
        str(second): Truth(captions=("a cat",)),
        str(third): Truth(),
    }


def test_folders_that_say_nothing_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no pictures"):
        open_labelled(tmp_path)
    picture(tmp_path / "1.jpg")
    with pytest.raises(InvalidInput, match="does not say what its pictures show: put each class into"):
        open_labelled(tmp_path)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput, match=r"there is no .*nowhere: give a Parquet file, a folder, or sketch:1000"
    ):
        open_labelled(tmp_path / "nowhere")


# --- drawn


@pytest.mark.parametrize(("name", "held_out"), [("sketch:3", False), ("sketch-held-out:3", True)])
def test_drawn_scenes_come_with_their_caption(name: str, held_out: bool) -> None:
    data = open_labelled(name)
    scenes = [sketch.scene(seed, held_out=held_out) for seed in range(3)]
    assert (data.total, data.captioned) == (3, True)
    assert truths(data) == [
        (f"scene {i}", Truth(captions=(sketch.caption(scene),))) for i, scene in enumerate(scenes)
    ]
    first = next(iter(data.rows())).read()
    assert open_image(first).tobytes() == sketch.draw(scenes[0], size=256).tobytes()


@pytest.mark.parametrize("name", ["sketch:", "sketch:0", "sketch:ten", "sketch-held-out:-1"])
def test_a_wrong_number_of_scenes_is_told(name: str) -> None:
    with pytest.raises(InvalidInput, match="should be sketch:N or sketch-held-out:N, with N scenes"):
        open_labelled(name)


# --- files of names


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.json", '{"n1": "dog, hound", "n2": ["cat"]}'),
        ("names.tsv", "n1\tdog, hound\n\nn2\tcat\n"),
        ("names.csv", "n1,dog,hound\nn2,cat\n"),
        ("names.txt", "\ufeffn1 dog, hound\nn2 cat"),
    ],
)
def test_names_come_as_json_or_lines(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_names(tmp_path / name) == {"n1": ("dog", "hound"), "n2": ("cat",)}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.json", b'{"n1": "dog", "n1": "cat"}', "has 'n1' twice"),
        ("x.json", b"[1]", "should hold a JSON object that is not empty"),
        ("x.json", b"{", "is not JSON: "),
        ("x.json", b'{"n1": " , "}', "a class needs a name, not ' , '"),
        ("x.txt", b"n1 dog\nn2\n", "line 2: 'n2' has no names"),
        ("x.txt", b"n1 dog\nn1 cat\n", "line 2: 'n1' comes twice"),
        ("x.txt", b"\n", "holds no names"),
        ("x.txt", b"n1 M\xfcnster", "is not UTF-8"),
    ],
)
def test_a_wrong_file_of_names_is_told(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidInput, match=message):
        read_names(tmp_path / name)
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        read_names(tmp_path / "nowhere")
