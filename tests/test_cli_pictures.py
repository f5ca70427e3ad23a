from __future__ import annotations

import io
import re
import sys
from base64 import b64decode
from pathlib import Path

import pytest
from PIL import Image

from clipkit.cli import main, pictures
from clipkit.collection import Collection
from clipkit.testing import FakeEncoder
from tests.terminal import Terminal

pytest.importorskip("textual_image", reason="thumbnails on a terminal need clipkit[terminal]")

# What terminals say of themselves, and what they answer to kitty's question.
ASKED = "\x1b[c"
KITTY = "\x1b_Gi=1;OK\x1b\\\x1b[?62;52;c"
XTERM = "\x1b[?64;1;2;4;6;22c"
KONSOLE = "\x1b_Gi=1;OK\x1b\\\x1b[?62;1;4c"
PLAIN = "\x1b[?64;1;2;14;24c"

TO_KITTY, SIXEL, ITERM, HALF_BLOCK = "\x1b_Ga=p", "\x1bP", "\x1b]1337", "▀"
PLACE = "\U0010eeee"  # kitty's sign for a cell that a picture covers
PIXELS = (TO_KITTY, SIXEL, ITERM, HALF_BLOCK, PLACE)
WIDE, HIGH = (600, 200), (100, 300)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wide red picture, a high green one, one of a single row, and a text."""
    home = tmp_path_factory.mktemp("home")
    collection = Collection.create(db=home, encoder=FakeEncoder())
    images = [
        Image.new("RGB", WIDE, "red"),
        Image.new("RGB", HIGH, "green"),
        Image.new("RGB", (900, 1), "blue"),
    ]
    collection.add_images(images, ids=["wide", "high", "line"])
    collection.add_texts(["red"], ids=["word"])
    return home


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(home))


def shown(*arguments: object, answer: str | None, environment: dict[str, str] | None = None) -> str:
    """What a terminal gets that gives this answer."""
    answers = {} if answer is None else {ASKED: answer}
    with Terminal(*arguments, answers=answers, environment=environment) as terminal:
        assert terminal.wait() == 0
    return terminal.seen


def lines(seen: str) -> list[str]:
    """The lines without what steers the terminal."""
    return [
        line.rstrip() for line in re.sub(r"\x1b([_P].*?\x1b\\|\[[?0-9;]*[A-Za-z])", "", seen).splitlines()
    ]


def test_kitty_gets_the_stored_thumbnails_and_cells_to_place_them_in() -> None:
    seen = shown("search", "red", "--show", answer=KITTY)
    sent: dict[str, str] = {}
    for number, data in re.findall(r"\x1b_Gi=(\d{2,}),m=[01],f=100,q=2;(.*?)\x1b\\", seen):
        sent[number] = sent.get(number, "") + data
    images = [Image.open(io.BytesIO(b64decode(data))) for data in sent.values()]
    assert [image.size for image in images] == [(180, 60), (40, 120), (180, 20)]  # in pixels
    assert images[0].convert("RGB").getpixel((9, 9)) == pytest.approx((255, 0, 0), abs=3)
    assert seen.count(TO_KITTY) == 3
    assert SIXEL not in seen
    assert KITTY not in seen  # its answer is not echoed
    table = lines(seen)
    assert len([line for line in table if PLACE in line]) == 3 + pictures.ROWS + 1  # 18 by 3 cells, 4 by 6
    for what in ("wide", "high", "line", "red"):
        assert any(re.search(rf" -?\d\.\d{{3}}  {what}$", line) for line in table)


@pytest.mark.parametrize(
    ("answer", "environment"),
    [(XTERM, {"TERM_PROGRAM": "iTerm.app"}), (KONSOLE, {})],
    ids=["iterm", "konsole"],
)
def test_what_knows_sixel_gets_sixel_even_if_it_knows_half_of_kittys_protocol(
    answer: str, environment: dict[str, str]
) -> None:
    seen = shown("search", "red", "--show", answer=answer, environment=environment)
    assert seen.count(SIXEL) == 3
    assert f'"1;1;{18 * 10};{3 * 20}' in seen  # the wide one in pixels
    assert not [sign for sign in (TO_KITTY, HALF_BLOCK, PLACE) if sign in seen]


@pytest.mark.parametrize(
    ("answer", "environment"), [(PLAIN, {}), (KITTY, {"TERM_PROGRAM": "WarpTerminal"})], ids=["plain", "warp"]
)
def test_colours_will_do_where_there_are_no_pixels(answer: str, environment: dict[str, str]) -> None:
    seen = shown("search", "red", "--show", answer=answer, environment=environment)
    assert len([line for line in lines(seen) if HALF_BLOCK in line]) == 3 + pictures.ROWS + 1
    assert SIXEL not in seen
    assert TO_KITTY not in seen


@pytest.mark.parametrize(
    ("answer", "environment"),
    [(None, {}), (PLAIN, {"NO_COLOR": "1", "TERM": "dumb"}), (KITTY, {"PYTHONIOENCODING": "latin-1"})],
    ids=["silent", "dumb", "no Unicode"],
)
def test_elsewhere_the_table_is_the_usual_one(answer: str | None, environment: dict[str, str]) -> None:
    seen = shown("search", "red", "--show", answer=answer, environment=environment)
    assert not [sign for sign in PIXELS if sign in seen]
    table = " ".join(lines(seen))
    assert re.search(r"score\W+what\W", table)
    assert re.search(r"\d\.\d{3}\W+wide\W", table)


@pytest.mark.parametrize("more", [["--show", "--json"], ["--show", "--paths"], []])
def test_unless_it_is_asked_for_nothing_is_asked_or_shown(more: list[str]) -> None:
    seen = shown("search", "red", *more, answer=KITTY)
    assert ASKED not in seen
    assert not [sign for sign in PIXELS if sign in seen]


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_pipe_gets_what_it_gets_without(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "red", *more]) == 0
    without = capsys.readouterr().out
    assert main(["search", "red", "--show", *more]) == 0
    assert capsys.readouterr().out == without
    assert "\x1b" not in without
    assert "wide" in without


def test_describe_shows_the_picture_that_it_describes(tmp_path: Path) -> None:
    Image.new("RGB", WIDE, "red").save(tmp_path / "mine.png")
    seen = shown("describe", tmp_path / "mine.png", "--show", answer=XTERM)
    assert seen.count(SIXEL) == 1
    assert re.search(r"mine\.png .*score +what .*\d\.\d{3} +red", " ".join(lines(seen)))


def test_without_the_library_the_install_line_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "textual_image", None)
    assert main(["search", "red", "--show"]) == 0  # into a pipe: nothing is missed
    monkeypatch.setattr(pictures, "is_terminal", lambda: True)
    assert main(["search", "red", "--show"]) == 1
    assert "pip install 'clipkit[terminal]'" in capsys.readouterr().err
