from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clipkit.cli import main
from clipkit.encoder import Pixels
from clipkit.errors import ImageError, InvalidInput
from clipkit.evaluate import Evaluation, evaluate, read_queries
from clipkit.labelled import Labelled, Row, Truth, open_labelled
from clipkit.reports import Progress
from clipkit.testing import FakeEncoder

BENCH = Path(__file__).parent / "bench"
CLASSES = {"c1": ("red", "crimson"), "c2": ("blue",), "c3": ("green", "emerald")}


def plain(colour: str, number: int = 0) -> Image.Image:
    """A picture of one colour, but for a corner, so that no two are alike."""
    picture = Image.new("RGB", (64, 64), colour)
    picture.putpixel((number % 8, number // 8), (number, 7, 7))
    return picture


def source(*rows: Row, classes: bool = True) -> Labelled:
    return Labelled("some data", len(rows), lambda: iter(rows), CLASSES if classes else {}, not classes)


def of_class(key: str, colour: str, number: int = 0) -> Row:
    return Row(f"{colour} {number}", partial(plain, colour, number), Truth(key))


def captioned(colour: str, *captions: str, number: int = 0) -> Row:
    return Row(f"{colour} {number}", partial(plain, colour, number), Truth(captions=captions))


def figures(found: Evaluation) -> dict[str, float]:
    return {measure.name: measure.value for measure in found.measures}


RIGHT = [of_class(key, names[0], i) for key, names in CLASSES.items() for i in range(12)]
WRONG = of_class("c1", "blue", 40)


def test_pictures_of_classes_give_accuracy_and_precision() -> None:
    found = evaluate(FakeEncoder(), source(*RIGHT, WRONG), queries={"red": ["c1"], "blue": ["blue", "red"]})
    assert (found.model, found.data, found.images, found.failures) == ("fake", "some data", 37, ())
    assert figures(found) == {
        "zero-shot top-1": pytest.approx(36 / 37),
        "zero-shot top-5": 1.0,
        "class-name queries P@10": pytest.approx((1 + 1 + found_blue(found)) / 3),
        "queries of the file P@20": pytest.approx((12 / 20 + 13 / 20) / 2),
    }
    assert dict(found.queries) == {"red": 12 / 20, "blue": 13 / 20}
    assert [measure.n for measure in found.measures] == [37, 37, 3, 2]
    assert found.seconds > 0


def found_blue(found: Evaluation) -> float:
    """The share of right ones among 10 of 13 blue pictures that score alike, of which one is wrong."""
    ahead = 9 / 10  # ties are counted pessimistically, so the wrong one is among the first
    assert found.images == 37
    return ahead


def test_captions_give_recall_both_ways() -> None:
    rows = [captioned("red", "red"), captioned("blue", "blue", "something blue"), captioned("green", "blue")]
    found = figures(evaluate(FakeEncoder(), source(*rows, classes=False)))
    assert found["text→image R@1"] == 1.0  # blue is a caption of the green picture, too
    assert found["image→text R@1"] == pytest.approx(2 / 3)
    assert set(found) == {
        f"{way} {what}" for way in ("text→image", "image→text") for what in ("R@1", "R@5", "R@10", "MRR")
    }


def test_data_with_classes_and_captions_gives_all_measures() -> None:
    both = [Row(row.name, row.read, Truth(row.truth.label, (f"number {i}",))) for i, row in enumerate(RIGHT)]
    data = Labelled("both", len(both), lambda: iter(both), CLASSES, captioned=True)
    assert len(evaluate(FakeEncoder(), data).measures) == 3 + 8


def test_a_class_without_pictures_is_a_possible_answer_but_no_query() -> None:
    found = evaluate(FakeEncoder(), source(*RIGHT[:12], of_class("c1", "green", 41)))
    assert figures(found)["zero-shot top-1"] == pytest.approx(12 / 13)
    assert found.measures[2].n == 1


def test_classes_of_one_name_are_one_query() -> None:
    names = {"c1": ("red",), "c2": ("red",)}
    rows = [of_class("c1", "red", 1), of_class("c2", "red", 2)]
    found = evaluate(FakeEncoder(), Labelled("x", 2, lambda: iter(rows), names))
    assert figures(found)["zero-shot top-1"] == 0.0  # a tie, counted pessimistically
    assert found.measures[2].n == 1
    assert figures(found)["class-name queries P@10"] == pytest.approx(2 / 10)


def test_templates_make_the_prompts() -> None:
    seen: list[str] = []

    class Listening(FakeEncoder):
        def _text_batch(self, texts: list[str]) -> NDArray[Any]:
            seen.extend(texts)
            return super()._text_batch(texts)

    names = {"c1": ("ape",), "c2": ("unicorn",), "c3": ("Dog",)}
    data = Labelled("x", 1, lambda: iter([of_class("c1", "red")]), names)
    evaluate(Listening(), data, templates=["{a} here", "the {}"])
    assert seen == ["an ape here", "the ape", "a unicorn here", "the unicorn", "a Dog here", "the Dog", "ape"]


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        (["a photo"], "the template 'a photo' has no place for the name"),
        ([], "a list of at least one"),
        ("{}", "a list"),
    ],
)
def test_templates_without_a_name_are_told(templates: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        evaluate(FakeEncoder(), source(*RIGHT), templates=templates)


def broken(reason: str) -> Callable[[], Any]:
    def read() -> Any:
        raise ImageError(reason)

    return read


def test_rows_that_cannot_be_used_are_named() -> None:
    class Fussy(FakeEncoder):
        def _pixel_batch(self, pixels: list[Pixels]) -> NDArray[Any]:
            rows = super()._pixel_batch(pixels)
            rows[[i for i, picture in enumerate(pixels) if picture[0, 0, 0] > 200]] = np.nan
            return rows

    rows = [
        *RIGHT[12:20],
        Row("row 8", broken("has no picture"), Truth("c2")),
        Row("row 9", partial(bytes, b"no picture"), Truth("c2")),
        Row("row 10", partial(plain, "blue"), Truth()),
        Row("row 11", partial(plain, "red"), Truth("c1")),
        Row("row 12", partial(str, "/nowhere/1.jpg"), Truth("c1")),
    ]
    told: list[Progress] = []
    found = evaluate(Fussy(), source(*rows), progress=told.append)
    assert [(f.id, f.reason) for f in found.failures[:3]] == [
        ("row 8", "has no picture"),
        ("row 9", "is not an image that Pillow can read"),
        ("row 10", "has neither a class nor a caption"),
    ]
    assert {f.id for f in found.failures} == {"row 8", "row 9", "row 10", "row 11", "row 12"}
    assert found.images == 8
    assert figures(found)["zero-shot top-1"] == 1.0
    assert [now.done for now in told] == list(range(1, 14))
    assert told[-1] == Progress(13, 13, 4)  # the fifth shows when it is embedded


def test_nothing_that_can_be_used_is_told() -> None:
    with pytest.raises(InvalidInput, match="nothing in some data can be used: row 0 has no picture"):
        evaluate(FakeEncoder(), source(Row("row 0", broken("has no picture"), Truth("c1"))))
    with pytest.raises(InvalidInput, match="nothing in some data can be used: it holds no rows"):
        evaluate(FakeEncoder(), source())


def test_an_encoder_of_texts_only_is_told() -> None:
    class Words(FakeEncoder):
        modalities = frozenset({"text"})

    with pytest.raises(InvalidInput, match="fake does not embed images: choose a model that does"):
        evaluate(Words(), source(*RIGHT))


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ({"a hue": ["c1", "purpel"]}, "the query 'a hue' names the class 'purpel', but that is none"),
        ({"a hue": ["emrald"]}, "Did you mean emerald"),
    ],
)
def test_queries_for_classes_that_are_not_there_are_told(queries: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        evaluate(FakeEncoder(), source(*RIGHT), queries=queries)


def test_a_name_of_two_classes_is_told() -> None:
    data = Labelled("x", 1, lambda: iter(RIGHT[:1]), {"c1": ("red", "hue"), "c2": ("blue", "hue")})
    with pytest.raises(InvalidInput, match="names the class 'Hue', but that stands for 2: use a key"):
        evaluate(FakeEncoder(), data, queries={"a hue": ["Hue"]})


def test_queries_need_classes_and_pictures_of_them() -> None:
    with pytest.raises(InvalidInput, match="the data has captions only"):
        evaluate(FakeEncoder(), source(captioned("red", "red"), classes=False), queries={"a hue": ["red"]})
    with pytest.raises(InvalidInput, match="no picture that can be read is right for the query 'a hue'"):
        evaluate(FakeEncoder(), source(*RIGHT[:12]), queries={"a hue": ["blue"]})


# --- files of queries


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q.json", '{"a dog": ["n1", "poodle, standard"], "a cat": ["n3"]}'),
        ("q.csv", 'query,class\na dog,n1\na cat,n3\na dog,"poodle, standard"\n'),
        ("q.csv", 'a dog,n1,"poodle, standard"\n\na cat,n3,\n'),
    ],
)
def test_queries_come_as_json_or_csv(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_queries(tmp_path / name) == {"a dog": ("n1", "poodle, standard"), "a cat": ("n3",)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.json", '{"a dog": "n1"}', "'a dog' should have a list of classes"),
        ("q.json", '{"a dog": []}', "has no classes for 'a dog'"),
        ("q.json", '{"a dog": ["n1"], "a dog": ["n2"]}', "has 'a dog' twice"),
        ("q.csv", "a dog\n", "has no classes for 'a dog'"),
        ("q.csv", "query,class\n", "holds no queries"),
    ],
)
def test_a_wrong_file_of_queries_is_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=message):
        read_queries(tmp_path / name)


def test_the_hypernym_queries_are_twenty_over_wordnet_ids() -> None:
    found = read_queries(BENCH / "tiny_imagenet_queries.json")
    assert len(found) == 20
    assert {"a dog", "a vehicle", "food", "a bird"} <= set(found)
    for classes in found.values():
        assert len(set(classes)) == len(classes) >= 2
        assert all(len(key) == 9 and key[0] == "n" and key[1:].isdecimal() for key in classes)


# --- drawn scenes, and the command


def test_drawn_scenes_are_evaluated_by_their_captions() -> None:
    found = evaluate(FakeEncoder(), open_labelled("sketch:4"))
    assert found.images == 4
    assert found.measures[0].n == 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for colour in ("red", "blue"):
        (tmp_path / colour).mkdir()
        for i in range(3):
            plain(colour, i).save(tmp_path / colour / f"{i}.png")
    (tmp_path / "red" / "3.png").write_bytes(b"no picture")
    return tmp_path


def test_the_command_prints_a_row_a_measure_and_names_what_is_broken(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queries = folder / "queries.csv"
    queries.write_text("red,red\nany colour,red,blue\n", encoding="utf-8")
    assert main(["evaluate", str(folder), "--model", "fake", "--queries", str(queries)]) == 0
    out, err = capsys.readouterr()
    assert [line.split("\t")[:4] for line in out.splitlines()] == [
        ["zero-shot top-1", "1.000", "1.000 to 1.000", "6"],
        ["zero-shot top-5", "1.000", "1.000 to 1.000", "6"],
        ["class-name queries P@10", "0.300", "0.300 to 0.300", "2"],
        ["queries of the file P@20", "0.225", "0.150 to 0.300", "2"],
        ["red", "0.15"],
        ["any colour", "0.30"],
    ]
    assert f"fake on {folder}: 6 pictures read and embedded in" in err
    assert "1 picture could not be used (rows are counted from 0):" in err
    assert f"{folder / 'red' / '3.png'}: " in err


def test_the_command_gives_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(folder), "--model", "fake", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["images"], len(found["failures"])) == ("fake", 6, 1)
    top1 = found["measures"][0]
    assert {key: top1[key] for key in ("name", "value", "low", "high", "n")} == {
        "name": "zero-shot top-1", "value": 1.0, "low": 1.0, "high": 1.0, "n": 6,
    }  # fmt: skip


def test_the_command_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path / "nowhere"), "--model", "fake"]) == 2
    assert "give a Parquet file, a folder, or sketch:1000" in capsys.readouterr().err
