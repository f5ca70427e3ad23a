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
import lancedb, pyarrow.dataset
assert not {"pandas", "lance_namespace_urllib3_client"} & set(sys.modules)
import pandas, lance_namespace_urllib3_client.models as models
assert [type(finder).__name__ for finder in sys.meta_path].count("_Finder") == 1
assert not any(type(finder).__name__ == "_StandIn" for finder in sys.meta_path)
assert lancedb.__loader__ is lancedb.__spec__.loader and lancedb.__loader__.get_source("lancedb")
print(pandas.Series([1]).sum(), models.ListTablesResponse(tables=["a"]).to_json())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == '1 {"tables": ["a"]}\n'


def test_what_was_put_off_is_there_when_it_is_made_use_of() -> None:
    code = """
import sys
from clipkit.cli.sparing import spare
spare()
import open_clip, torch, torchvision, timm
assert not {"torch._dynamo", "transformers"} & set(sys.modules)
from open_clip import coca_model, hf_model
assert coca_model.LogitsProcessorList([1]) == [1]
from transformers import BertConfig, LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutput
assert isinstance(coca_model.LogitsProcessorList(), LogitsProcessorList)
assert isinstance(BaseModelOutput(), hf_model.BaseModelOutput)
assert not isinstance(BertConfig(), hf_model.BaseModelOutput)
assert hf_model.AutoConfig.for_model("bert").model_type == "bert"
assert "torch._dynamo" not in sys.modules
boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
assert torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), [boxes], 2).shape == (1, 1, 2, 2)
added = torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2))
patched = timm.create_model("naflexvit_base_patch16_gap", depth=1, img_size=32)(torch.ones(1, 3, 32, 32))
print(added.tolist(), tuple(patched.shape))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[2.0, 2.0] (1, 1000)\n"
