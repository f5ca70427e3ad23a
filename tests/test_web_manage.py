"""What is behind the page's Manage: jobs, folders to index, near-duplicates, figures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

import clipkit.pipeline
from clipkit import Collection
from clipkit.errors import CollectionNotFound, InvalidInput
from clipkit.hiding import hidden
from clipkit.reports import Progress
from clipkit_web import doubles as doubles_module
from clipkit_web import indexing
from clipkit_web.components import Gallery
from clipkit_web.doubles import Doubles
from clipkit_web.figures import NO_CAPTIONS, Figures
from clipkit_web.form import Form
from clipkit_web.indexing import MODELS, Indexer, inside
from clipkit_web.jobs import Job
from clipkit_web.manage_tab import ManageTab
from clipkit_web.site import Options, Site
from tests.pictures import draw_folder
from tests.web_site import draw_scenes

# --- jobs


def blocked() -> tuple[threading.Event, Callable[[Callable[[Progress], None]], str]]:
    """Work that lasts until the event is set, and then tells its progress."""
    event = threading.Event()

    def work(progress: Callable[[Progress], None]) -> str:
        event.wait()
        progress(Progress(1, 2, 0))
        return "done"

    return event, work


def test_a_job_runs_beside_and_its_result_stays() -> None:
    job: Job[str] = Job()
    assert (job.state.what, job.state.running) == ("", False)
    event, work = blocked()
    job.start("waiting", work)
    assert (job.state.what, job.state.running, job.state.result) == ("waiting", True, None)
    event.set()
    ended = job.wait()
    assert (ended.running, ended.result, ended.error) == (False, "done", None)


def test_a_second_job_is_refused_while_one_runs() -> None:
    job: Job[str] = Job()
    event, work = blocked()
    job.start("the first", work)
    with pytest.raises(InvalidInput, match="the first is still running: wait for its end, or stop it"):
        job.start("the second", work)
    event.set()
    assert job.wait().what == "the first"
    job.start("the second", work)
    assert job.wait().what == "the second"


def test_a_job_is_stopped_where_it_tells_its_progress() -> None:
    job: Job[str] = Job()
    event, work = blocked()
    job.start("waiting", work)
    job.stop()
    assert job.state.stopping
    event.set()
    ended = job.wait()
    assert (ended.running, ended.result, ended.error) == (False, None, "stopped")


def test_what_goes_wrong_in_a_job_is_told() -> None:
    job: Job[str] = Job()

    def wrong(_: Callable[[Progress], None]) -> str:
        raise InvalidInput("the disk is full of holes")

    job.start("writing", wrong)
    assert job.wait().error == "the disk is full of holes"


def test_how_far_a_job_is_can_be_seen() -> None:
    job: Job[None] = Job()
    told, go = threading.Event(), threading.Event()

    def work(progress: Callable[[Progress], None]) -> None:
        progress(Progress(3, 10, 1))
        told.set()
        go.wait()

    job.start("counting", work)
    told.wait()
    assert job.state.progress == Progress(3, 10, 1)
    go.set()
    assert job.wait().error is None


# --- which folders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that may be indexed, beside one that may not."""
    draw_folder(tmp_path / "allowed" / "sub", 3)
    draw_folder(tmp_path / "secret", 1)
    return (tmp_path / "allowed").resolve()


def test_a_folder_inside_a_root_may_be_indexed(root: Path) -> None:
    assert inside([root], str(root), "") == root
    assert inside([root], str(root), " sub ") == root / "sub"
    assert inside([root], str(root), "sub/../sub") == root / "sub"
    assert inside([root], str(root), str(root / "sub")) == root / "sub"


@pytest.mark.parametrize("below", ["..", "../secret", "sub/../../secret", "/", "/etc", "link", "link/0"])
def test_a_folder_outside_its_root_is_refused(root: Path, below: str) -> None:
    (root / "link").symlink_to(root.parent / "secret")
    with pytest.raises(InvalidInput, match=r"lies outside .*allowed: give a folder inside it"):
        inside([root], str(root), below)


@pytest.mark.parametrize(
    ("below", "message"),
    [
        ("nowhere", "there is no folder 'nowhere' in"),
        ("sub/0/00000.jpg", "there is no folder"),
        ("a\0b", "is no name of a folder"),
        ("x" * 5_000, "is no name of a folder|there is no folder"),
    ],
)
def test_what_is_no_folder_is_refused(root: Path, below: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        inside([root], str(root), below)


@pytest.mark.parametrize("chosen", ["", "/", "..", "{root}/sub", "{root}/", "{root}/../secret"])
def test_only_the_roots_themselves_are_roots(root: Path, chosen: str) -> None:
    with pytest.raises(InvalidInput, match="is none of the folders that may be indexed from this page"):
        inside([root], chosen.format(root=root), "")
    with pytest.raises(InvalidInput, match="is none of the folders that may be indexed from this page"):
        inside([], str(root), "")


# --- indexing


@pytest.fixture
def site(tmp_path: Path, root: Path) -> Site:
    return Site(Options(db=str(tmp_path / "db"), roots=(root,)))


def counts(view: dict[str, Any]) -> dict[str, int]:
    return {one["what"]: one["count"] for one in view["counts"] if one["count"]}


def test_a_folder_is_indexed_into_a_new_collection(site: Site, root: Path) -> None:
    (root / "sub" / "broken.jpg").write_bytes(b"no picture")
    indexer = Indexer(site)
    indexer.start(str(root), "sub", name="holidays", model="bundled")
    assert indexer.job.wait().error is None
    view = indexer.view()
    assert (view["collection"], view["stopped"], view["running"]) == ("holidays", False, False)
    assert counts(view) == {"added": 3, "skipped": 1}
    (failure,) = view["failures"]
    assert failure["file"] == str(root / "sub" / "broken.jpg")
    assert "not an image" in failure["reason"]
    assert site.collection("holidays").count() == 3
    indexer.start(str(root), "", name="holidays", model="fast")  # whose model is not asked for
    indexer.job.wait()
    assert counts(indexer.view()) == {"unchanged": 3, "skipped": 1}


def test_failures_are_listed_up_to_a_number(site: Site, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "FAILURES", 2)
    for number in range(5):
        (root / f"broken{number}.jpg").write_bytes(b"no picture")
    indexer = Indexer(site)
    indexer.start(str(root), "", name="", model="")
    indexer.job.wait()
    view = indexer.view()
    assert (view["collection"], len(view["failures"]), view["failed"]) == ("default", 2, 5)


def test_a_run_is_stopped_and_goes_on(site: Site, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read one ahead, and the run is stopped once it has told of the first."""
    monkeypatch.setattr(clipkit.pipeline, "ENCODE_BATCH", 1)
    monkeypatch.setattr(clipkit.pipeline, "READ_AHEAD", 1)
    indexer = Indexer(site)
    tell = indexer.job._tell

    def stop_at_first(progress: Progress) -> None:
        indexer.job.stop()
        tell(progress)

    monkeypatch.setattr(indexer.job, "_tell", stop_at_first)
    indexer.start(str(root), "", name="", model="bundled")
    indexer.job.wait()
    view = indexer.view()
    assert view["stopped"]
    stored = site.collection().count()
    assert counts(view).get("added", 0) == stored < 3
    monkeypatch.undo()
    indexer.start(str(root), "", name="", model="bundled")
    indexer.job.wait()
    assert counts(indexer.view()) == {
        key: count for key, count in {"added": 3 - stored, "unchanged": stored}.items() if count
    }


@pytest.mark.parametrize("model", ["fake", "local-dir:/tmp", "hf-hub:somebody/something", "ViT-B-32@w.pt"])
def test_only_the_models_that_are_offered_can_be_had(site: Site, root: Path, model: str) -> None:
    with pytest.raises(InvalidInput, match="is not offered here"):
        Indexer(site).start(str(root), "", name="new", model=model)
    assert MODELS[0] == "bundled"
    assert site.names() == []


def test_a_folder_that_may_not_be_indexed_begins_nothing(site: Site, root: Path) -> None:
    indexer = Indexer(site)
    with pytest.raises(InvalidInput, match="lies outside"):
        indexer.start(str(root), "../secret", name="new", model="bundled")
    assert indexer.view()["what"] == ""
    assert site.names() == []


def test_a_name_that_no_collection_can_have_is_told(site: Site, root: Path) -> None:
    indexer = Indexer(site)
    indexer.start(str(root), "", name="../x", model="bundled")
    assert "../x" in str(indexer.job.wait().error)
    assert indexer.view()["error"] == indexer.job.state.error


# --- near-duplicates


@pytest.fixture
def doubled(site: Site, root: Path) -> Doubles:
    """Two pictures twice and one three times, and one alone; all but the first of each are worse."""
    draw_scenes(root / "scenes", range(4))
    for number, copies in enumerate((1, 1, 2)):
        for copy in range(copies):
            picture = Image.open(root / "scenes" / f"{number:04}.jpg")
            picture.resize((200 - 20 * copy,) * 2).save(root / "scenes" / f"{number:04}-{copy}.jpg")
    collection = Collection.create(db=site.options.db, encoder="bundled")
    collection.index(root / "scenes")
    doubles = Doubles(site)
    doubles.start("default", "resaved")
    assert doubles.job.wait().error is None
    return doubles


def names(view: dict[str, Any], *, only_hidden: bool = False) -> list[list[str]]:
    return [
        [item["name"] for item in group["items"] if item["hidden"] or not only_hidden]
        for group in view["groups"]
    ]


GROUPS = [["0002.jpg", "0002-0.jpg", "0002-1.jpg"], ["0000.jpg", "0000-0.jpg"], ["0001.jpg", "0001-0.jpg"]]


def test_duplicates_are_shown_with_the_best_first(doubled: Doubles) -> None:
    view = doubled.view("default")
    assert [sorted(group) for group in names(view)] == [sorted(group) for group in GROUPS]
    assert [group[0] for group in names(view)] == [group[0] for group in GROUPS]
    assert (view["count"], view["others"], view["items"], view["hidden"]) == (3, 4, 8, 0)
    best = view["groups"][0]["items"][0]
    assert (best["width"], best["height"], best["score"]) == (256, 256, 1.0)
    assert best["bytes"] == Path(best["file"]).stat().st_size
    assert best["date"].startswith("2020-")


def test_a_picture_is_hidden_and_kept_again(doubled: Doubles, site: Site) -> None:
    worse = doubled.view("default")["groups"][1]["items"][1]["id"]
    doubled.hide([worse])
    assert hidden(site.collection()) == [worse]
    assert doubled.view("default")["groups"][1]["settled"]
    doubled.keep([worse])
    assert hidden(site.collection()) == []
    doubled.undo()
    assert hidden(site.collection()) == [worse]
    doubled.undo()
    doubled.undo()  # of nothing
    assert hidden(site.collection()) == []


def test_the_best_of_a_group_or_of_all_is_kept(doubled: Doubles, site: Site) -> None:
    doubled.keep_best(0)
    assert len(hidden(site.collection())) == 2
    doubled.keep_best()
    view = doubled.view("")
    assert [sorted(group) for group in names(view, only_hidden=True)] == [group[1:] for group in GROUPS]
    assert (view["hidden"], view["acts"]) == (4, 2)
    doubled.undo()
    assert len(hidden(site.collection())) == 2, "only what the last act hid is shown again"
    doubled.undo()
    assert hidden(site.collection()) == []


def test_what_is_hidden_is_not_compared_again(doubled: Doubles) -> None:
    doubled.keep_best()
    doubled.start("default", "resaved")
    doubled.job.wait()
    view = doubled.view("default")
    assert (view["count"], view["items"], view["acts"]) == (0, 4, 0)


def test_only_what_was_found_can_be_hidden(doubled: Doubles, site: Site, root: Path) -> None:
    alone = str(root / "scenes" / "0003.jpg")
    with pytest.raises(InvalidInput, match="this picture is in no group that was found"):
        doubled.hide([alone])
    with pytest.raises(InvalidInput, match="this group is not there any more"):
        doubled.keep_best(3)
    with pytest.raises(InvalidInput, match="no duplicates were looked for yet"):
        Doubles(site).hide([alone])
    assert hidden(site.collection()) == []


def test_many_groups_are_counted_and_the_first_shown(
    doubled: Doubles, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubles_module, "GROUPS", 1)
    monkeypatch.setattr(doubles_module, "MEMBERS", 2)
    view = doubled.view("default")
    assert (view["count"], len(view["groups"])) == (3, 1)
    assert (len(view["groups"][0]["items"]), view["groups"][0]["more"]) == (2, 1)
    doubled.keep_best()
    assert len(hidden(site.collection())) == 4, "those of groups that are not shown, too"


def test_of_another_collection_nothing_is_shown(doubled: Doubles) -> None:
    assert doubled.view("holidays") == {"busy": None}
    with pytest.raises(CollectionNotFound, match="holidays"):
        doubled.start("holidays", "exact")


# --- figures


def test_figures_tell_of_the_index_and_of_captions(site: Site, root: Path) -> None:
    draw_scenes(root / "scenes", range(12))
    Collection.create(db=site.options.db, encoder="bundled").index(root / "scenes")
    figures = Figures(site)
    figures.start("")
    assert figures.job.wait().error is None
    view = figures.view("default")
    told = {what: value for what, value, _ in view["index"]}
    assert (told["items"], told["index"]) == ("24", "none")
    assert told["recall@10, asked by images"] == told["recall@10, asked by texts"] == "1.000"
    assert told["latency, median"].endswith(" ms")
    assert {what for what, _, _ in view["captions"]} >= {"text→image R@10", "image→text R@1"}
    assert view["missing"] is None
    assert figures.view("other") == {"busy": None}


def test_without_captions_figures_say_what_is_missing(site: Site, root: Path) -> None:
    Collection.create(db=site.options.db, encoder="bundled").index(root)
    figures = Figures(site)
    figures.start("")
    figures.job.wait()
    view = figures.view("")
    assert (view["captions"], view["missing"]) == ([], NO_CAPTIONS)


def test_of_an_empty_collection_there_are_no_figures(site: Site) -> None:
    Collection.create(db=site.options.db, encoder="bundled")
    figures = Figures(site)
    figures.start("")
    figures.job.wait()
    assert figures.view("")["error"] == "'default' has 0 items of the kind image: index more first"


# --- the tab


@pytest.fixture
def tab(site: Site) -> Iterator[ManageTab]:
    with gr.Blocks():
        which = gr.Dropdown()
        yield ManageTab(site, which, Gallery(lambda form: [str(form)], [gr.Textbox()]))


async def _seen(handler: Callable[..., Any], *given: Any) -> list[dict[str, Any]]:
    return [shown async for shown in handler(*given)]


def test_a_job_is_watched_until_its_end(tab: ManageTab, root: Path) -> None:
    def begin() -> None:
        tab.indexer.start(str(root), "", name="", model="bundled")

    watched = tab._watched(lambda _: tab.indexer.view(), tab.indexer.job, begin)
    seen = asyncio.run(_seen(watched, ""))
    assert counts(seen[-1]) == {"added": 3}
    assert all(shown["running"] for shown in seen[:-1])
    assert tab.collections()["collections"][0]["images"] == 3


def test_what_is_refused_is_shown_beside_what_there_is(tab: ManageTab, root: Path) -> None:
    def begin() -> None:
        tab.indexer.start(str(root), "..", name="", model="bundled")

    (shown,) = asyncio.run(_seen(tab._watched(lambda _: tab.indexer.view(), tab.indexer.job, begin), ""))
    assert "lies outside" in shown["refused"]


def test_collections_are_listed_and_opened(tab: ManageTab, site: Site) -> None:
    Collection.create("fine", db=site.options.db, encoder="bundled")
    assert [one["name"] for one in tab.collections()["collections"]] == ["fine"]
    event = gr.EventData(None, {"name": "fine"})
    chosen, searched = tab._opened(event)
    assert (chosen.value, searched) == ("fine", str(Form(collection="fine")))


def test_without_roots_the_tab_says_how_to_allow_them(tmp_path: Path) -> None:
    with gr.Blocks() as page:
        made = ManageTab(Site(Options(db=str(tmp_path))), gr.Dropdown(), Gallery(lambda _: [], []))
    assert made.run is None
    said = [block.value for block in page.blocks.values() if isinstance(block, gr.Markdown)]
    assert any("clipkit ui --allow-index FOLDER" in str(text) for text in said)
