from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.errors import InvalidInput
from clipkit.folders import (
    FoundFile,
    Selection,
    Walk,
    has_vanished,
    id_prefixes,
    id_to_path,
    is_under,
    path_to_id,
    resolved,
    walk,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = Path(os.path.realpath(tmp_path)) / "photos"
    folder.mkdir()
    return folder


def put(folder: Path, *names: str) -> None:
    """Files of one byte; folders on the way are made."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def found(walk: Walk, root: Path) -> list[str]:
    """What was found, as paths below `root`."""
    assert all(file.path.startswith(f"{root}/") for file in walk.files)
    return [file.path[len(str(root)) + 1 :] for file in walk.files]


def reasons(walk: Walk, root: Path) -> dict[str, str]:
    return {id_to_path(identity)[len(str(root)) + 1 :]: reason for identity, reason in walk.unreadable}


# --- which files


def test_image_files_are_found_whatever_the_case_of_their_suffix(root: Path) -> None:
    put(
        root, "a.jpg", "b.Jpg", "c.HEIC", "d.Png", "e.txt", "f", "sub/g.webp", "jpg", "h.jpg.part", "i.tar.gz"
    )
    assert found(walk([root]), root) == ["a.jpg", "b.Jpg", "c.HEIC", "d.Png", "sub/g.webp"]


def test_a_file_is_told_with_its_size_and_time(root: Path) -> None:
    (root / "a.jpg").write_bytes(b"12345")
    os.utime(root / "a.jpg", ns=(1, 1_700_000_000_123_456_789))
    assert walk([root]).files == [FoundFile(str(root / "a.jpg"), 5, 1_700_000_000_123_456_789)]


def test_the_order_is_the_same_each_time_and_by_name(root: Path) -> None:
    put(root, "b/2.jpg", "z.jpg", "a/9.jpg", "b/10.jpg", "a/c/1.jpg", "A.jpg")
    order = ["A.jpg", "z.jpg", "a/9.jpg", "a/c/1.jpg", "b/10.jpg", "b/2.jpg"]
    assert found(walk([root]), root) == order == found(walk([root]), root)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["*.jpg"], ["b.JPG", "2020/c.jpg", "2020/05/d.jpg", "raw/e.jpg"]),
        (["B.*"], ["b.JPG"]),
        (["2020/*"], ["2020/c.jpg", "2020/notes.md", "2020/05/d.jpg"]),
        (["2020/*.jpg"], ["2020/c.jpg", "2020/05/d.jpg"]),
        (["*/d.jpg"], ["2020/05/d.jpg"]),
        (["*.tif", "*.md"], ["a.tif", "2020/notes.md"]),
        (["[ab].*"], ["a.tif", "b.JPG"]),
        (["?.jpg"], ["b.JPG", "2020/c.jpg", "2020/05/d.jpg", "raw/e.jpg"]),
        (["*.bmp"], []),
    ],
)
def test_patterns_choose_by_name_or_with_a_slash_by_path(
    root: Path, patterns: list[str], expected: list[str]
) -> None:
    put(root, "a.tif", "b.JPG", "2020/c.jpg", "2020/05/d.jpg", "2020/notes.md", "raw/e.jpg")
    assert found(walk([root], Selection(tuple(patterns))), root) == expected


@pytest.mark.parametrize(
    ("excludes", "expected"),
    [
        (["raw"], ["b.jpg", "2020/c.jpg", "2020/05/d.jpg"]),
        (["RAW/"], ["b.jpg", "2020/c.jpg", "2020/05/d.jpg"]),
        (["2020/raw"], ["b.jpg", "2020/c.jpg", "2020/05/d.jpg", "raw/e.jpg"]),
        (["2020/*"], ["b.jpg", "raw/e.jpg"]),
        (["05", "b.*"], ["2020/c.jpg", "2020/raw/f.jpg", "raw/e.jpg"]),
        (["*"], []),
    ],
)
def test_what_is_excluded_is_left_out_and_not_entered(
    root: Path, excludes: list[str], expected: list[str]
) -> None:
    put(root, "b.jpg", "2020/c.jpg", "2020/05/d.jpg", "2020/raw/f.jpg", "raw/e.jpg")
    assert found(walk([root], Selection(excludes=tuple(excludes))), root) == expected


def test_an_exclude_beats_a_pattern(root: Path) -> None:
    put(root, "a.jpg", "b.jpg")
    assert found(walk([root], Selection(("*.jpg",), ("a.*",))), root) == ["b.jpg"]


def test_hidden_names_are_taken_only_if_wanted(root: Path) -> None:
    put(root, "a.jpg", ".b.jpg", ".cache/c.jpg", "@eaDir/d.jpg", "__MACOSX/e.jpg")
    assert found(walk([root]), root) == ["a.jpg"]
    assert found(walk([root], Selection(hidden=True)), root) == [".b.jpg", "a.jpg", ".cache/c.jpg"]


@pytest.mark.parametrize("field", ["patterns", "excludes"])
def test_one_string_is_no_list_of_patterns(field: str) -> None:
    with pytest.raises(InvalidInput, match=rf"{field} is a list of patterns, not one string: \['\*.jpg'\]"):
        Selection(**{field: "*.jpg"})  # type: ignore[arg-type]


def test_lists_of_patterns_are_kept_as_tuples() -> None:
    selection = Selection(patterns=["*.jpg"], excludes=["raw/"])  # type: ignore[arg-type]
    assert selection == Selection(("*.jpg",), ("raw",))
    assert hash(selection) == hash(Selection(("*.jpg",), ("raw",)))


# --- links


def test_a_link_to_a_file_is_a_file_of_its_own(root: Path, tmp_path: Path) -> None:
    put(root, "a.jpg")
    put(tmp_path, "outside/b.jpg")
    (root / "inside.jpg").symlink_to(root / "a.jpg")
    (root / "outside.jpg").symlink_to(tmp_path / "outside" / "b.jpg")
    assert found(walk([root]), root) == ["a.jpg", "inside.jpg", "outside.jpg"]
    assert len(walk([root]).unreadable) == 0


def test_a_broken_link_is_listed(root: Path) -> None:
    (root / "gone.jpg").symlink_to(root / "nowhere.jpg")
    (root / "self.jpg").symlink_to(root / "self.jpg")
    (root / "gone").symlink_to(root / "nowhere")
    walked = walk([root])
    assert walked.files == []
    assert reasons(walked, root) == {
        "gone.jpg": "is a link to a missing file",
        "self.jpg": f"cannot be found: {os.strerror(40)}",
    }


def test_links_in_a_circle_end(root: Path) -> None:
    put(root, "a/b/c.jpg")
    (root / "a" / "b" / "up").symlink_to(root / "a")
    (root / "a" / "self").symlink_to(root / "a" / "self")
    (root / "a" / "root").symlink_to(root)
    (root / "a" / "above").symlink_to(root.parent)
    assert found(walk([root]), root) == ["a/b/c.jpg"]


def test_a_folder_outside_is_entered_through_its_link_once(root: Path, tmp_path: Path) -> None:
    put(tmp_path, "outside/x/1.jpg", "outside/2.jpg")
    (root / "first").symlink_to(tmp_path / "outside" / "x")
    (root / "second").symlink_to(tmp_path / "outside")
    (root / "third").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "back").symlink_to(tmp_path / "outside")
    assert found(walk([root]), root) == ["first/1.jpg", "second/2.jpg"]


def test_a_folder_inside_is_found_by_its_own_name_not_by_its_link(root: Path) -> None:
    put(root, "z/1.jpg")
    (root / "a").symlink_to(root / "z")
    assert found(walk([root]), root) == ["z/1.jpg"]


def test_a_link_between_two_roots_adds_nothing(root: Path) -> None:
    put(root, "one/1.jpg", "two/2.jpg")
    (root / "one" / "two").symlink_to(root / "two")
    walked = walk([root / "one", root / "two"])
    assert found(walked, root) == ["one/1.jpg", "two/2.jpg"]


# --- what is no picture


def test_a_pipe_is_listed_and_never_opened(root: Path) -> None:
    os.mkfifo(root / "pipe.jpg")
    assert reasons(walk([root]), root) == {"pipe.jpg": "is not a regular file"}
    given = walk([root / "pipe.jpg"])
    assert given.files == []
    assert given.unreadable == [(str(root / "pipe.jpg"), "is not a regular file")]


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Makes a folder unlistable: by its mode, or for root, whom no mode binds, by what listing it says."""
    locked: list[Path] = []
    real = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path) in locked:
            raise PermissionError(13, os.strerror(13), path)
        return real(path)

    def lock(folder: Path) -> None:
        locked.append(folder)
        folder.chmod(0)

    if os.geteuid() == 0:
        monkeypatch.setattr(os, "scandir", scandir)
    yield lock
    for folder in locked:
        folder.chmod(0o700)


def test_a_folder_that_cannot_be_listed_is_told_and_the_rest_is_found(
    root: Path, lock: Callable[[Path], None]
) -> None:
    put(root, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    lock(root / "b")
    walked = walk([root])
    assert found(walked, root) == ["a/1.jpg", "c/3.jpg"]
    assert reasons(walked, root) == {"b": f"folder cannot be listed: {os.strerror(13)}"}


# --- roots


def test_overlapping_roots_give_each_file_once(root: Path) -> None:
    put(root, "a/1.jpg", "a/b/2.jpg", "c.jpg")
    walked = walk([root / "a" / "b", root, root / "a", root, root / "c.jpg"])
    assert walked.roots == (str(root),)
    assert found(walked, root) == ["c.jpg", "a/1.jpg", "a/b/2.jpg"]


def test_a_name_that_begins_like_a_root_is_not_under_it(root: Path) -> None:
    put(root, "a/1.jpg", "ab/2.jpg")
    walked = walk([root / "a", root / "ab"])
    assert walked.roots == (str(root / "a"), str(root / "ab"))
    assert found(walked, root) == ["a/1.jpg", "ab/2.jpg"]


def test_what_is_given_itself_is_taken_even_if_the_walk_would_leave_it_out(root: Path) -> None:
    put(root, "a.jpg", ".hidden/b.jpg", ".hidden/.c.jpg", "raw/d.jpg", "notes.txt", ".e.jpg")
    roots = [root, root / ".hidden", root / "raw", root / "notes.txt", root / ".e.jpg", root / "a.jpg"]
    walked = walk(roots, Selection(excludes=("raw",)))
    assert walked.roots == (str(root),)
    assert found(walked, root) == ["a.jpg", ".hidden/b.jpg", "raw/d.jpg", "notes.txt", ".e.jpg"]


def test_a_root_given_through_a_link_is_where_the_link_leads(root: Path, tmp_path: Path) -> None:
    put(root, "a.jpg")
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "link.jpg").symlink_to(root / "a.jpg")
    assert walk([tmp_path / "link"]) == walk([root])
    assert walk([tmp_path / "link.jpg"]).files == walk([root]).files


def test_a_relative_root_and_the_home_folder_are_made_absolute(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root, "a.jpg")
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(root))
    assert walk(["."]) == walk(["~"]) == walk([root / ".." / root.name]) == walk([root])


def test_a_root_that_is_not_there_is_an_error_that_thinks_of_disks(root: Path) -> None:
    with pytest.raises(InvalidInput, match=r"gone does not exist\. If it is on a disk that is not mounted"):
        walk([root, root / "gone"])


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match=r"^input 2: .* is not a path$"):
        resolved(path, 2)


def test_an_empty_folder_gives_nothing(root: Path) -> None:
    assert walk([root]) == Walk((str(root),))


# --- gone for certain


def test_a_file_has_vanished_if_its_root_is_there_and_it_is_not(root: Path) -> None:
    put(root, "a.jpg", "file/..keep")
    roots = [str(root)]
    assert has_vanished(f"{root}/b.jpg", roots)
    assert has_vanished(f"{root}/gone/b.jpg", roots)
    assert has_vanished(f"{root}/a.jpg/b.jpg", roots)  # a folder has become a file
    assert has_vanished(f"{root}/b.jpg", [f"{root}/b.jpg"]) is False  # the root itself is gone
    assert not has_vanished(f"{root}/a.jpg", roots)


def test_nothing_vanishes_with_its_root(root: Path) -> None:
    assert not has_vanished(f"{root}/disk/a.jpg", [f"{root}/disk"])
    assert not has_vanished("/elsewhere/a.jpg", [str(root)])


def test_a_broken_link_has_not_vanished(root: Path) -> None:
    (root / "a.jpg").symlink_to(root / "nowhere.jpg")
    assert not has_vanished(f"{root}/a.jpg", [str(root)])


def test_nothing_vanishes_behind_a_linked_folder_that_leads_nowhere(root: Path, tmp_path: Path) -> None:
    put(tmp_path, "disk/album/1.jpg")
    (root / "disk").symlink_to(tmp_path / "disk")
    path = f"{root}/disk/album/1.jpg"
    assert [file.path for file in walk([root]).files] == [path]
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    assert not has_vanished(path, [str(root)])
    (tmp_path / "unmounted").rename(tmp_path / "disk")
    (tmp_path / "disk" / "album" / "1.jpg").unlink()
    assert has_vanished(path, [str(root)])


# --- ids

LATIN_1 = "caf\udce9.jpg"  # the byte E9, as the system hands it out


def test_a_path_is_its_own_id(root: Path) -> None:
    assert path_to_id(root / "ä 😀 %41.jpg") == f"{root}/ä 😀 %41.jpg"
    assert id_to_path(f"{root}/ä 😀 %41.jpg") == f"{root}/ä 😀 %41.jpg"
    assert path_to_id(f"{root}/a/../b.jpg") == f"{root}/b.jpg"


def test_names_that_are_not_utf8_and_names_with_newlines_are_found(root: Path) -> None:
    put(root, LATIN_1, "two\nlines.jpg", "sub\udcff/a.jpg")
    walked = walk([root])
    assert found(walked, root) == [LATIN_1, "two\nlines.jpg", "sub\udcff/a.jpg"]
    assert [file.id.encode() for file in walked.files] == [
        b"file://" + os.fsencode(root) + b"/caf%E9.jpg",
        os.fsencode(root) + b"/two\nlines.jpg",
        b"file://" + os.fsencode(root) + b"/sub%FF/a.jpg",
    ]
    assert all(os.path.isfile(file.path) for file in walked.files)


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_any_path_comes_back_from_its_id(name: bytes) -> None:
    path = os.path.abspath(os.fsdecode(b"/" + name))
    identity = path_to_id(path)
    assert id_to_path(identity) == path
    assert identity.encode()


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name and name.strip(b"/.")))
def test_ids_begin_with_a_prefix_of_their_root(name: bytes) -> None:
    for root in ("/photos", "/", "/phot\udce9s", "/a b%41"):
        path = os.path.abspath(os.fsdecode(os.fsencode(root) + b"/x" + name.replace(b"/", b"x")))
        assert path_to_id(path).startswith(tuple(id_prefixes(root)))
        assert (
            not path_to_id(root.rstrip("/") + "-2/a.jpg").startswith(tuple(id_prefixes(root))) or root == "/"
        )


def test_a_path_is_under_itself_and_its_folders() -> None:
    assert is_under("/a/b", "/a/b")
    assert is_under("/a/b", "/a")
    assert is_under("/a/b", "/")
    assert not is_under("/ab", "/a")
    assert not is_under("/a", "/a/b")
