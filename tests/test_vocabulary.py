from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipkit.errors import InvalidInput
from clipkit.prompts import class_vectors, prompts_of
from clipkit.testing import FakeEncoder
from clipkit.vocabulary import FEW_TEMPLATES, Label, Vocabulary


def written(tmp_path: Path, text: str, name: str = "labels.txt") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_list_of_names_is_a_vocabulary() -> None:
    vocabulary = Vocabulary.of(["dog", " hot   dog "])
    assert vocabulary.labels == (Label("dog"), Label("hot dog"))
    assert (len(vocabulary), vocabulary.names, vocabulary.groups) == (2, ("dog", "hot dog"), ())


def test_a_file_has_a_label_a_line_with_synonyms_and_groups(tmp_path: Path) -> None:
    text = "\ufeff# mine\nsky\n\n[ animals ]\ncat: house cat, kitten ,,\ndog\n[food]\r\nsoup:\n"
    assert Vocabulary.read(written(tmp_path, text)).labels == (
        Label("sky"),
        Label("cat", ("house cat", "kitten"), group="animals"),
        Label("dog", group="animals"),
        Label("soup", group="food"),
    )


def test_json_is_a_list_or_an_object(tmp_path: Path) -> None:
    assert Vocabulary.read(written(tmp_path, '["a: b", "c"]', "v.json")).names == ("a: b", "c")
    text = '{"dog": ["hound"], "Rex": {"prompts": ["a photo of my dog Rex"], "group": "pets"}, "cat": []}'
    assert Vocabulary.read(written(tmp_path, text, "v.json")).labels == (
        Label("dog", ("hound",)),
        Label("Rex", prompts=("a photo of my dog Rex",), group="pets"),
        Label("cat"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labels.txt, the vocabulary is empty: give at least one label"),
        ("# nothing\n[animals]\n", "labels.txt, the vocabulary is empty"),
        (
            "dog\n\n# pets\nDOG: hound\n",
            "labels.txt, line 1 and line 4 are the same label, 'dog' and 'DOG': keep",
        ),
        ("straße\nSTRASSE", "line 1 and line 2 are the same label"),
        ("dog\n: hound\n", "labels.txt, line 2 is blank: a label needs a name"),
    ],
)
def test_a_file_that_will_not_do_is_told_by_its_lines(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Vocabulary.read(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "v.json, the vocabulary is empty"),
        ("{}", "v.json should hold a JSON object that is not empty"),
        ("[1]", "v.json, a label is a string, not 1"),
        ('["dog", "Dog"]', "v.json, label 1 and label 2 are the same label, 'dog' and 'Dog'"),
        ('{"dog": [], "dog": []}', "v.json has 'dog' twice"),
        ('{"dog": "hound"}', "v.json, the other words for 'dog' are a list of strings, not 'hound'"),
        ('{"dog": {"words": []}}', "v.json, 'dog' has 'words': a label takes synonyms, prompts and group"),
        ("[", "v.json is not JSON"),
    ],
)
def test_json_that_will_not_do_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Vocabulary.read(written(tmp_path, text, "v.json"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "the vocabulary is empty"),
        (["dog", " "], "label 2 is blank"),
        (["dog", "cat", "dog "], "label 1 and label 3 are the same label"),
        ("dog", r"a list of labels is wanted, not one string: \['dog'\]"),
    ],
)
def test_names_that_will_not_do_are_told(names: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Vocabulary.of(names)


def test_the_built_in_vocabulary_is_large_and_grouped() -> None:
    everyday = Vocabulary.everyday()
    assert len(everyday) > 400
    assert {"people", "animals", "places", "food and drink", "activities"} <= set(everyday.groups)
    assert all(label.group for label in everyday.labels)
    animals = everyday.only(["animals"])
    assert {label.group for label in animals.labels} == {"animals"}
    assert {"dog", "cat", "elephant"} <= set(animals.names)


def test_a_group_that_is_not_there_is_told() -> None:
    with pytest.raises(InvalidInput, match=r"there is no group 'animal'. Did you mean animals"):
        Vocabulary.everyday().only(["animal"])


# --- prompts


def test_prompts_are_all_templates_of_all_names() -> None:
    prompts = prompts_of(["owl", "unicorn"], ["{a}!", "the {}"])
    assert prompts == ["an owl!", "the owl", "a unicorn!", "the unicorn"]


def test_a_label_is_the_mean_of_its_prompts() -> None:
    encoder = FakeEncoder()
    label = Label("cat", ("kitten",))
    prompts = [*prompts_of(["cat"], FEW_TEMPLATES), *prompts_of(["kitten"], FEW_TEMPLATES)]
    rows = encoder.encode_texts(prompts).astype(np.float64)
    mean = rows.mean(axis=0)
    found = Vocabulary((Label("dog"), label)).vectors(encoder)
    assert found.shape == (2, encoder.dim)
    assert len(set(prompts)) == 2 * len(FEW_TEMPLATES)
    np.testing.assert_allclose(found[1], mean / np.linalg.norm(mean), atol=1e-6)


def test_prompts_of_its_own_are_said_as_they_stand() -> None:
    encoder = FakeEncoder()
    own = Vocabulary((Label("Rex", ("dog",), ("red", "blue")),))
    np.testing.assert_array_equal(own.vectors(encoder), class_vectors(encoder, [["red", "blue"]]))
