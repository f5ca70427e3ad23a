"""Files read in processes, with JPEGs decoded by torchvision: on the CPU here, which runs the same code."""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from clipkit import bulk
from clipkit.bulk import MOST_BYTES, MOST_FILES, Readers, Task, chunks, read_many
from clipkit.collection import Collection
from clipkit.encoder import Pixels
from clipkit.encoders import load_encoder
from clipkit.encoders.jpegs import JpegDecoder
from clipkit.encoders.pixels import Preprocessing
from clipkit.folders import FoundFile
from clipkit.images import open_image
from clipkit.jpegs import header_of
from clipkit.reading import Copy, Decoded, KnownHashes, Unreadable, read_file
from clipkit.resizing import THUMBNAIL_EDGE
from clipkit.testing import FakeEncoder
from tests.test_pixels import photo

EDGE = 32
SLACK = 3  # levels of 255: bytes are rounded between the two directions of resizing, floats are not


def preprocessing(mode: str = "shortest") -> Preprocessing:
    cfg = PreprocessCfg(size=EDGE, resize_mode=mode)
    settings = {name: getattr(cfg, name) for name in ("size", "mean", "std", "interpolation", "resize_mode")}
    return Preprocessing(settings, image_transform_v2(cfg, is_train=False))


class Seeing(FakeEncoder):
    """A fake encoder that sees what a model of open_clip would, and decodes JPEGs as if on a GPU."""

    image_size = EDGE

    def __init__(self) -> None:
        super().__init__()
        self.decoder = JpegDecoder("cpu", preprocessing(), upright=True)

    def preprocess(self, image: Image.Image) -> Pixels:
        return self.decoder.preprocessing.resized(image)

    def jpeg_decoder(self) -> JpegDecoder:
        return self.decoder


def jpeg(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **{"quality": 95, **options})
    return stream.getvalue()


def lying(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(photo(300, 200), exif=exif)


def found(path: Path) -> FoundFile:
    return FoundFile(str(path), path.stat().st_size, path.stat().st_mtime_ns)


@pytest.fixture
def files(tmp_path: Path) -> list[FoundFile]:
    """Of each kind one: what is left to the device, what Pillow reads, and what nobody can."""
    whole = jpeg(photo(400, 300))
    contents = {
        "a.jpg": whole,
        "b.png": b"",
        "c.jpg": lying(6),
        "d.jpg": whole[: len(whole) // 2],
        "e.jpg": jpeg(photo(90, 200).convert("L")),
        "f.jpg": b"no picture",
        "g.jpg": jpeg(photo(20, 10)),
        "h.jpg": jpeg(photo(64, 64)),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    photo(50, 40).save(tmp_path / "b.png")
    return [found(tmp_path / name) for name in contents] + [FoundFile(str(tmp_path / "gone.jpg"), 1, 1)]


# --- headers


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(jpeg(photo(40, 30).convert("L")), id="grey"),
        pytest.param(jpeg(photo(40, 30).convert("CMYK")), id="CMYK"),
        pytest.param(jpeg(photo(40, 30), keep_rgb=True), id="RGB without YCbCr"),
        pytest.param(jpeg(photo(40, 30))[:-2], id="without its end"),
        pytest.param(jpeg(photo(40, 30)) + b"more", id="with something behind it"),
        pytest.param(b"\xff\xd8\xff\xe0\0\0\xff\xd9", id="a broken header"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_decoders_may_differ_on_is_not_left_to_them(data: bytes) -> None:
    assert header_of(data) is None


def test_a_header_tells_what_the_whole_picture_would() -> None:
    header = header_of(lying(6))
    assert header is not None
    assert (header.picture.width, header.picture.height, header.orientation) == (200, 300, 6)
    assert header_of(lying(6), max_pixels=59_999) is None
    assert header_of(lying(6), max_pixels=60_000) is not None


# --- decoding


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_seen_upright_as_pillow_has_it(mode: str, orientation: int) -> None:
    data = lying(orientation)
    decoder = JpegDecoder("cpu", preprocessing(mode), upright=True)
    ((pixels, small),) = decoder.decode([bytearray(data)], [orientation])
    upright = open_image(data)
    expected = preprocessing(mode).resized(upright).astype(int)
    assert np.abs(pixels - expected).max() <= SLACK
    thumbnail = open_image(small)
    assert thumbnail.size == ((256, 171) if orientation < 5 else (171, 256))
    difference = np.abs(np.asarray(thumbnail).astype(int) - np.asarray(upright.resize(thumbnail.size)))
    assert difference.mean() < 4


def test_left_as_it_lies_where_that_is_wanted() -> None:
    decoder = JpegDecoder("cpu", preprocessing("squash"), upright=False)
    ((pixels, _),) = decoder.decode([bytearray(lying(6))], [6])
    expected = preprocessing("squash").resized(open_image(lying(6), upright=False)).astype(int)
    assert np.abs(pixels - expected).max() <= SLACK


def test_pictures_of_any_size_go_together() -> None:
    decoder = JpegDecoder("cpu", preprocessing(), upright=True)
    sizes = [(300, 200), (10, 90), (33, 32), (1, 1)]
    done = decoder.decode([bytearray(jpeg(photo(*size))) for size in sizes], [1] * 4)
    for (pixels, small), size in zip(done, sizes, strict=True):
        expected = preprocessing().resized(open_image(jpeg(photo(*size)))).astype(int)
        assert np.abs(pixels - expected).max() <= SLACK
        assert max(open_image(small).size) == min(THUMBNAIL_EDGE, max(size)), "a thumbnail is never enlarged"


def test_a_broken_file_among_them_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="JPEG"):
        JpegDecoder("cpu", preprocessing(), upright=True).decode(
            [bytearray(jpeg(photo(9, 9))), bytearray(b"no picture")], [1, 1]
        )


def test_it_works_where_torchvision_and_the_preprocessing_do() -> None:
    assert JpegDecoder("cpu", preprocessing(), upright=True).works()
    assert not JpegDecoder("cpu", preprocessing("longest"), upright=True).works()
    assert not JpegDecoder("no device", preprocessing(), upright=True).works()


# --- files


def task(**known: Any) -> Task:
    return Task(Seeing(), preprocessing(), known.get("known"), max_pixels=10**6)


def nearly_equal(ours: object, theirs: object) -> bool:
    """Whether both say the same, with pixels and thumbnails that two decoders make of one picture."""
    if not (isinstance(ours, Decoded) and isinstance(theirs, Decoded)):
        return ours == theirs
    rows = [vars_of(item) for item in (ours, theirs)]
    assert rows[0].pop("thumbnail")
    assert rows[1].pop("thumbnail")
    return rows[0] == rows[1] and bool(np.abs(ours.pixels.astype(int) - theirs.pixels).max() <= SLACK)


def vars_of(item: Decoded) -> dict[str, Any]:
    return {name: getattr(item.row, name) for name in item.row.__slots__}


def test_files_are_read_as_one_by_one_in_their_order(files: list[FoundFile]) -> None:
    encoder = Seeing()
    one_by_one = [read_file(file, lambda: encoder, None, 10**6) for file in files]
    kinds = [Decoded, Decoded, Decoded, Unreadable, Decoded, Unreadable, Decoded, Decoded, Unreadable]
    assert [type(item) for item in one_by_one] == kinds
    together = list(read_many(files, task(), encoder.decoder))
    assert [nearly_equal(*pair) for pair in zip(together, one_by_one, strict=True)] == [True] * 9


def test_a_process_needs_no_torch(files: list[FoundFile]) -> None:
    code = (
        "import pickle, sys; task, files = pickle.load(sys.stdin.buffer); read = task.read(files); "
        "print(*(type(item).__name__ for item in read), 'torch' in sys.modules)"
    )
    given = pickle.dumps((task(), files))
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, check=True)
    kinds = "Undecoded Decoded Undecoded Unreadable Decoded Unreadable Undecoded Undecoded Unreadable"
    assert done.stdout.decode().split() == [*kinds.split(), "False"]


def test_known_content_is_not_decoded(files: list[FoundFile]) -> None:
    first = read_file(files[0], Seeing, None, 10**6)
    assert isinstance(first, Decoded)
    known = KnownHashes(pa.chunked_array([[first.row.content_hash]]))
    (read,) = read_many(files[:1], task(known=known), Seeing().decoder)
    assert read == Copy(files[0], first.row.content_hash or "")


class Failing(JpegDecoder):
    def decode(
        self, jpegs: Sequence[bytearray | memoryview], orientations: Sequence[int]
    ) -> list[tuple[NDArray[np.uint8], bytes]]:
        raise torch.OutOfMemoryError(f"{len(jpegs)} pictures, {orientations}")


def test_what_the_device_cannot_decode_is_decoded_here(files: list[FoundFile]) -> None:
    encoder = Seeing()
    failing = Failing("cpu", preprocessing(), upright=True)
    together = list(read_many(files, task(), failing))
    one_by_one = [read_file(file, lambda: encoder, None, 10**6) for file in files]
    assert [nearly_equal(*pair) for pair in zip(together, one_by_one, strict=True)] == [True] * 9


def test_a_process_that_dies_loses_nothing(files: list[FoundFile]) -> None:
    readers = Readers(task())
    try:
        first = readers.read(files)
        (reader,) = readers._all
        os.kill(reader._process.pid, signal.SIGKILL)
        reader._process.wait()
        assert [type(item) for item in readers.read(files)] == [type(item) for item in first], "read here"
        readers.read(files)
        assert len(readers._all) == 2, "by another process from then on"
    finally:
        readers.close()
    assert all(reader._process.returncode is not None for reader in readers._all)


def test_whoever_stops_listening_leaves_no_process(files: list[FoundFile]) -> None:
    started: list[Any] = []
    begin: Callable[..., None] = bulk._Reader.__init__

    def note(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        started.append(self._process)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk._Reader, "__init__", note)
        reading = read_many(files, task(), Seeing().decoder)
        next(reading)
        reading.close()
    assert started
    assert all(process.poll() is not None for process in started)


def test_chunks_are_bounded_by_files_and_by_bytes() -> None:
    small = [FoundFile(f"/{n}", 10, 0) for n in range(2 * MOST_FILES + 7)]
    assert [len(chunk) for chunk in chunks(small)] == [MOST_FILES, MOST_FILES, 7]
    large = [FoundFile(f"/{n}", MOST_BYTES // 2, 0) for n in range(5)]
    assert [len(chunk) for chunk in chunks(large)] == [2, 2, 1]
    huge = [FoundFile(f"/{n}", 2 * MOST_BYTES, 0) for n in range(2)]
    assert [len(chunk) for chunk in chunks(huge)] == [1, 1]
    assert list(chunks([])) == []


# --- indexing


def test_a_folder_indexed_so_is_as_any_other(
    files: list[FoundFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(files[0].id).parent
    usual = Collection.create("usual", db=tmp_path / "db", encoder=Seeing())
    report = usual.index(folder)
    monkeypatch.setattr(bulk, "MANY", len(files) - 1)
    many = Collection.create("many", db=tmp_path / "db", encoder=Seeing())
    assert many.index(folder).added == report.added == 6
    assert many.index(folder).unchanged == 6
    assert [failure.id for failure in many.failures()] == [failure.id for failure in usual.failures()]
    columns = ["id", "width", "height", "content_hash", "mtime_ns", "uri"]
    assert many.to_arrow(columns=columns).equals(usual.to_arrow(columns=columns))
    ids = [item.id for item in files[:1]]
    assert open_image(many.thumbnails(ids)[ids[0]]).size == (256, 192)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_decodes_what_pillow_does(tmp_path: Path) -> None:
    encoder = load_encoder("bundled", device="cuda")
    decoder = encoder.jpeg_decoder()  # type: ignore[attr-defined]
    if decoder is None:
        pytest.skip("torchvision was built without nvJPEG")
    datas = [lying(orientation) for orientation in range(1, 9)] + [jpeg(photo(700, 500), subsampling=2)]
    seen = decoder.decode([bytearray(data) for data in datas], [*range(1, 9), 1])
    for (pixels, small), data in zip(seen, datas, strict=True):
        expected = encoder.preprocess(open_image(data)).astype(int)
        assert np.abs(pixels - expected).mean() < 2
        assert max(open_image(small).size) == THUMBNAIL_EDGE
