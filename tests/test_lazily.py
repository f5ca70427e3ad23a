from __future__ import annotations

import subprocess
import sys

PUT_OFF = """
import sys
from clipkit.encoders.lazily import put_off
put_off()
put_off()
assert [type(finder).__module__ for finder in sys.meta_path].count("clipkit.importing") == 1
"""


def output_of(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", PUT_OFF + code], capture_output=True, text=True, check=True)
    return done.stdout


def test_what_was_put_off_is_there_when_it_is_made_use_of() -> None:
    code = """
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
    assert output_of(code) == "[2.0, 2.0] (1, 1000)\n"


def test_what_is_there_already_is_used_as_it_is() -> None:
    code = """
import torch._dynamo.utils, transformers
import open_clip, timm.layers
from open_clip import hf_model
assert hf_model.AutoModel is transformers.AutoModel
asked = sys.modules["torchvision.ops.roi_align"].is_compile_supported
assert asked is torch._dynamo.utils.is_compile_supported
assert sys.modules["timm.models.naflexvit"].disable_compiler is timm.layers.disable_compiler
assert hf_model.__loader__ is hf_model.__spec__.loader and hf_model.__loader__.get_source(hf_model.__name__)
print("as it is")
"""
    assert output_of(code) == "as it is\n"


def test_without_transformers_open_clip_knows_that_there_are_none() -> None:
    code = """
from importlib.machinery import PathFinder
class Absent(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "transformers" else PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Absent
from open_clip import hf_model
print(hf_model.transformers)
"""
    assert output_of(code) == "None\n"
