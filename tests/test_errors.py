from __future__ import annotations

import pickle

import pytest

from clipkit import errors
from clipkit.errors import ClipkitError, ImageError, InvalidInput, MissingExtra, QueryError, did_you_mean
from clipkit.reports import IndexInterrupted, IndexReport

ALL: list[BaseException] = [
    InvalidInput("too small", position=3),
    InvalidInput("too small"),
    QueryError("what is this?", "a + ", 4),
    errors.FilterError("no such column"),
    ImageError("is empty", position=2),
    errors.FetchError("is not a URL"),
    MissingExtra("reading HEIC", "heif"),
    errors.ModelError("no"),
    errors.UnknownModel("no model 'x'"),
    errors.ModelUnavailable("no network"),
    errors.WeightsError("cut short"),
    errors.ServiceError("busy", embedded=3),
    errors.PlacesUnavailable("wholes only"),
    errors.CollectionError("no"),
    errors.CollectionNotFound("none"),
    errors.CollectionExists("there"),
    errors.CollectionMismatch("another"),
    errors.StorageError("full"),
]


def test_every_error_is_among_those_tried_here() -> None:
    kinds = {k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, ClipkitError)}
    assert {type(error) for error in ALL} == kinds - {ClipkitError}


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_an_error_crosses_a_process_boundary_whole(error: BaseException) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_an_interrupted_run_crosses_a_process_boundary_with_its_report() -> None:
    report = IndexReport(added=3, seconds=1.5)
    again: IndexInterrupted = pickle.loads(pickle.dumps(IndexInterrupted(report)))
    assert type(again) is IndexInterrupted
    assert again.report == report
    assert str(again) == str(IndexInterrupted(report))


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (InvalidInput("x"), ValueError),
        (QueryError("x", "y", 0), ValueError),
        (ImageError("x"), OSError),
        (ImageError("x"), ValueError),
        (errors.FetchError("x"), OSError),
        (MissingExtra("x", "y"), ImportError),
        (errors.UnknownModel("x"), LookupError),
        (errors.ServiceError("x"), OSError),
        (errors.CollectionNotFound("x"), FileNotFoundError),
        (errors.CollectionExists("x"), FileExistsError),
        (errors.CollectionMismatch("x"), ValueError),
        (errors.StorageError("x"), OSError),
    ],
)
def test_the_builtin_that_callers_expect_catches_it(error: Exception, builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="x"):
        raise error


def test_a_position_is_told_and_kept() -> None:
    error = InvalidInput("too small", position=0)
    assert str(error) == "input 0: too small"
    assert (error.position, error.reason) == (0, "too small")
    assert str(InvalidInput("too small")) == "too small"
    assert InvalidInput("too small").position is None


def test_an_image_error_reads_like_the_others_although_it_is_an_oserror() -> None:
    assert str(ImageError("is empty", position=1)) == "input 1: is empty"


def test_a_query_error_points_at_the_character() -> None:
    error = QueryError("what is this?", "a + ?", 4)
    message, text, arrow = str(error).splitlines()
    assert message == "what is this?"
    assert text[arrow.index("^")] == "?"
    assert error.column == 4


def test_a_missing_extra_says_how_to_get_it() -> None:
    assert "pip install 'clipkit[heif]'" in str(MissingExtra("reading HEIC", "heif"))


@pytest.mark.parametrize(
    ("name", "known", "sentence"),
    [
        ("widht", ["width", "height"], "Did you mean width?"),
        ("colour", ["colours", "colors"], "Did you mean colours or colors?"),
        ("xyz", ["width", "height"], "Known: height, width."),
        ("xyz", [], ""),
    ],
)
def test_close_names_are_offered(name: str, known: list[str], sentence: str) -> None:
    assert did_you_mean(name, known) == sentence
