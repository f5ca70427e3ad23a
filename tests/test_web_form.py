from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.errors import FilterError, InvalidInput
from clipkit_web.form import LONGEST, MOST, MOST_VALUES, PAGE, Form, Weighted

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
weighted = st.builds(Weighted, names, st.floats(-9, 9).map(lambda x: float(f"{x:g}")))
forms = st.builds(
    Form,
    collection=text,
    q=text,
    picture=st.lists(weighted, max_size=3).map(tuple),
    item=st.lists(weighted, max_size=3).map(tuple),
    good=st.lists(text, max_size=3).map(tuple),
    bad=st.lists(text, max_size=3).map(tuple),
    kind=st.sampled_from(["", "image", "text"]),
    folder=text,
    edge=st.integers(0, 9_999),
    own=st.lists(text, max_size=3).map(tuple),
    cut=st.sampled_from(["", "auto", "0.25"]),
    words=st.booleans(),
    hidden=st.booleans(),
    k=st.integers(1, MOST),
)


@given(forms)
def test_a_link_gives_back_the_form_it_was_made_of(form: Form) -> None:
    assert Form.read(str(form)) == form
    assert Form.read(f"?{form}") == form


def test_a_form_that_asks_nothing_has_no_link() -> None:
    assert str(Form()) == ""
    assert not Form().asks
    assert Form.read("") == Form()


def test_what_is_no_part_of_a_form_is_passed_over() -> None:
    assert Form.read("q=dog&__theme=dark&utm=1") == Form(q="dog")


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("k=many", "k in the link is a number, not 'many'"),
        ("edge=-1", "edge in the link is a number, not '-1'"),
        ("item=1", "no WEIGHT\\*NAME"),
        ("item=nan*x", "no WEIGHT\\*NAME"),
        ("picture=inf*x", "no WEIGHT\\*NAME"),
        ("q=" + "x" * (LONGEST + 1), f"q has {LONGEST + 1:,} characters, over the limit of {LONGEST:,}"),
        ("&".join(["good=x"] * (MOST_VALUES + 1)), f"{MOST_VALUES + 1} values of good are over the limit"),
    ],
)
def test_a_link_that_no_form_can_have_is_refused(link: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Form.read(link)


def test_the_number_of_hits_stays_within_bounds() -> None:
    assert Form.read("k=0").k == 1
    assert Form.read("k=999999999").k == MOST


def test_a_hit_has_one_mark_and_loses_it_when_it_is_given_again() -> None:
    form = Form().marked("a", "good").marked("b", "good")
    assert (form.good, form.bad) == (("a", "b"), ())
    form = form.marked("a", "bad")
    assert (form.good, form.bad) == (("b",), ("a",))
    assert form.marked("a", "bad").bad == ()
    assert form.asks


def test_a_part_is_weighed_and_taken_away_by_its_name() -> None:
    form = Form(k=300).weighted("item", "a", 0.5).weighted("item", "b", -0.5).weighted("item", "a", 1.0)
    assert form.item == (Weighted("a", 1.0), Weighted("b", -0.5))
    assert form.k == PAGE
    assert form.weighted("item", "a", None).item == (Weighted("b", -0.5),)
    assert form.weighted("picture", "none", None).picture == ()


def test_widgets_become_filters_and_lead_back_to_the_first_page() -> None:
    form = Form(q="dog", k=300).with_filters(["kind", "own", "folder"], ["text", ["a=b"], None])
    assert form == Form(q="dog", kind="text", own=("a=b",), folder="", k=PAGE)


def test_the_cut_off_is_none_auto_or_a_score() -> None:
    assert [Form(cut=cut).least for cut in ("", "auto", "0.25")] == [None, "auto", 0.25]
    with pytest.raises(InvalidInput, match="a score from -1 to 1 or auto, not 'high'"):
        _ = Form(cut="high").least


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidInput, match="image, text or empty, not 'video'"):
        _ = Form(kind="video").wanted


def test_filters_become_one_condition() -> None:
    assert Form().condition({}) is None
    columns = {"city": "string", "fav": "bool", "tags": "list<item: string>"}
    own = ("city=L'Aquila", "fav=true", "tags=a dog")
    said = Form(edge=500, own=own, where="width > 9").condition(columns)
    assert said == (
        "(least(width, height) >= 500) AND (city IN ('L''Aquila')) AND (fav = true) "
        "AND (array_has(tags, 'a dog')) AND (width > 9)"
    )


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (Form(since="yesterday"), "'yesterday' is no date"),
        (Form(near="here"), "'here' is no place"),
        (Form(own=("colour=red",)), "no column 'colour': take that filter away"),
        (Form(where="width > 9) OR (true"), "closes a parenthesis that it did not open"),
    ],
)
def test_a_broken_filter_is_told_in_words(form: Form, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        form.condition({})
