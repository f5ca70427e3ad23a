from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clipkit import Collection
from clipkit.testing import FakeEncoder
from tests import pictures

SEARCH = """
import sys
from clipkit.cli import main
code = main(sys.argv[1:])
sys.stdout.flush()
loaded = [name for name in {names} if name in sys.modules]
print(code, *loaded, file=sys.stderr)
"""
SPARED = ("torch", "open_clip", "pandas", "lance_namespace_urllib3_client", "gradio")


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "a dog", "--json"),
        ("search", "7 dogs", "--hybrid", "--min-score", "auto"),
        ("recommend", "--like", "0"),
        ("album", "show", "dogs"),
        ("status",),
    ],
    ids=["search", "hybrid", "recommend", "album", "status"],
)
def test_a_question_imports_nothing_that_it_can_do_without(db: Path, arguments: tuple[str, ...]) -> None:
    from clipkit.albums import Album, save

    collection = Collection.create(db=db, encoder=FakeEncoder())
    collection.add_texts([f"{number} dogs" for number in range(30)], ids=[str(n) for n in range(30)])
    save(collection, Album("dogs", "7 dogs"))
    command = [sys.executable, "-c", SEARCH.format(names=SPARED), *arguments, "--db", str(db)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout
    assert done.stderr.splitlines()[-1] == "0"


def test_an_index_of_pictures_imports_none_of_it_either(db: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    pictures.draw_folder(folder, 3)
    command = [sys.executable, "-c", SEARCH.format(names=SPARED), "index", str(folder), "--model", "fake"]
    done = subprocess.run([*command, "--db", str(db)], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "0"
    assert Collection.open(db=db).count() == 3


def test_a_model_is_loaded_without_what_only_other_models_need(db: Path, tmp_path: Path) -> None:
    pictures.draw_folder(tmp_path / "photos", 3)
    names = ("torch._dynamo", "torch._inductor", "sympy", "transformers")
    index = ("index", str(tmp_path / "photos"), "--model", "bundled", "--db", str(db))
    command = [sys.executable, "-c", SEARCH.format(names=names), *index]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "0"
    assert Collection.open(db=db).count() == 3


def test_what_was_spared_can_be_imported_later() -> None:
    code = """
import sys
from clipkit.cli.sparing import spare
spare()
spare()
import pyarrow.dataset
assert "pandas" not in sys.modules
import pandas
assert [type(finder).__name__ for finder in sys.meta_path].count("_Finder") == 1
assert not any(type(finder).__name__ == "_Absent" for finder in sys.meta_path)
assert pyarrow._dataset.__loader__ is pyarrow._dataset.__spec__.loader
print(pandas.Series([1]).sum())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
