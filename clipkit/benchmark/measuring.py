"""The figures of a benchmark, each taken for so many seconds, and what follows from them."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Literal, TypeAlias, TypeVar

import numpy as np
from PIL import Image

from clipkit.collection import Collection
from clipkit.encoder import Encoder, Pixels, batched, unit_rows
from clipkit.errors import InvalidInput
from clipkit.folders import FoundFile
from clipkit.images import MAX_PIXELS
from clipkit.reading import Decoded, read_file
from clipkit.reports import Progress
from clipkit.schema import ItemRow
from clipkit.stamps import Stamp
from clipkit.store import Store
from clipkit.tuning import PHRASES

SAMPLE = 1024  # pictures, spread over all: more would move no figure noticeably
FOR_MODEL = 256  # decoded pictures at once, and texts: several batches for every lane of a model
TO_POOL = 16  # pictures for each core at once: so that few wait for the last
ROWS_AT_ONCE = 1024  # in one commit
NEAR = 0.7  # of the ceiling: from here on, decoding and the model are what takes the time
DISK_SHARE = 0.3  # of the time of indexing: from here on, reading or writing is what to look at first

SHARES = {"read": 2, "decode": 7, "bare": 4, "model": 8, "texts": 4, "write": 4, "index": 12, "query": 4}
"""How the seconds are shared out."""

Limit: TypeAlias = Literal["decode", "model", "disk", "overhead"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """What was reached, in `unit` ("images/s", "texts/s", "rows/s" or "ms"), and the ceiling of that.

    `of` says what the ceiling is. It was measured at another moment, so `share` may be a little above 1.
    """

    name: str
    value: float
    unit: str
    ceiling: float
    of: str

    @property
    def share(self) -> float:
        """What was reached of the ceiling: 1 is all."""
        return self.ceiling / self.value if self.unit == "ms" else self.value / self.ceiling


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Figures by name: read, decode, model, texts, write, index (all of these together) and query.

    `limit` is what indexing takes most of its time for, and `advice` a sentence on that. `pictures` is the
    size of the sample, and `searched` the number of items among which the query was answered.
    """

    model: str
    device: str
    cores: int
    pictures: int
    searched: int
    figures: dict[str, Figure]
    limit: Limit
    advice: str
    seconds: float


def measure(
    encoder: Encoder,
    pictures: Sequence[FoundFile],
    *,
    collection: Collection | None = None,
    device: str = "cpu",
    seconds: float = 45.0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Benchmark:
    """The benchmark of indexing such `pictures` with `encoder`, and of searching `collection`.

    Without a collection, the pictures of the sample are searched. `device` is where the model runs: on "cpu"
    it shares the cores with what decodes. It all takes about `seconds`; each figure takes its part of them,
    but two batches at least. What is written goes to a temporary folder, which is gone afterwards, also after
    Ctrl-C. Raises InvalidInput if no picture of the sample can be read.
    """
    if seconds <= 0:
        raise InvalidInput(f"a benchmark takes some seconds, not {seconds}")
    began = time.perf_counter()
    sample = _spread(pictures)
    with tempfile.TemporaryDirectory(prefix="clipkit-bench-") as scratch:
        stages = _Stages(encoder, sample, Path(scratch), seconds, progress)
        figures = {figure.name: figure for figure in (*stages.of_pictures(), stages.texts(), stages.write())}
        together = joint(figures["decode"].value, figures["model"].value, shared=device == "cpu")
        figures["index"] = stages.index(together)
        figures["query"], searched = stages.query(collection)
    limit = limit_of(figures, shared=device == "cpu")
    return Benchmark(
        model=encoder.name,
        device=device,
        cores=_cores(),
        pictures=len(sample),
        searched=searched,
        figures=figures,
        limit=limit,
        advice=_ADVICE[limit],
        seconds=time.perf_counter() - began,
    )


def joint(decode: float, model: float, *, shared: bool) -> float:
    """Images a second that these rates allow together: on the same cores, or each on a device of its own."""
    return 1 / (1 / decode + 1 / model) if shared else min(decode, model)


def limit_of(figures: dict[str, Figure], *, shared: bool) -> Limit:
    """What indexing takes most of its time for."""
    decode, model, index = (figures[name].value for name in ("decode", "model", "index"))
    if index < NEAR * joint(decode, model, shared=shared):
        disk = index / figures["read"].value + index / figures["write"].value
        return "disk" if disk > DISK_SHARE else "overhead"
    return "decode" if decode < model else "model"


_ADVICE = {
    "decode": "Decoding limits: a processor with more cores helps, smaller copies of the pictures do, and a "
    "faster model or GPU does not.",
    "model": "The model limits: a GPU helps, a smaller model does (clipkit models), and so does "
    "--precision bf16, or int8, where the processor has it.",
    "disk": "Reading and writing limit: have the collection (--db), the pictures or both on a faster disk.",
    "overhead": "Neither decoding nor the model limits, so most likely other programs take the cores, or the "
    "sample is too small to keep them busy: close them, or give --seconds more.",
}


class _Stages:
    """What is measured one after the other, each for its share of the seconds."""

    def __init__(
        self,
        encoder: Encoder,
        sample: Sequence[FoundFile],
        scratch: Path,
        seconds: float,
        progress: Callable[[Progress], None],
    ) -> None:
        self._encoder, self._sample, self._scratch = encoder, sample, scratch
        self._seconds, self._progress = seconds, progress
        self._begun: list[str] = []
        self._indexed = Collection.create("indexed", db=scratch / "db", encoder=encoder)

    def of_pictures(self) -> Iterator[Figure]:
        pixels: list[Pixels] = []

        def decode(file: FoundFile) -> None:
            done = read_file(file, lambda: self._encoder, None, MAX_PIXELS)
            if isinstance(done, Decoded) and len(pixels) < FOR_MODEL:
                pixels.append(done.pixels)

        with ThreadPoolExecutor(_cores(), thread_name_prefix="clipkit-bench") as pool:
            each = partial(_in_pool, pool)
            once, at_once = self._sample, TO_POOL * _cores()
            again = batched(itertools.cycle(self._sample), at_once)
            seconds = self._time_for("read") / 2
            read, _ = rate(partial(each, _bytes), batched(once, at_once), seconds)
            known, _ = rate(partial(each, _bytes), again, seconds)
            yield Figure("read", read, "images/s", known, "reading once more, from memory")
            done, _ = rate(partial(each, decode), again, self._time_for("decode"))
            if not pixels:
                raise InvalidInput("none of the pictures of the sample can be read")
            bare, _ = rate(
                partial(each, partial(_bare, self._encoder.image_size)), again, self._time_for("bare")
            )
            yield Figure("decode", done, "images/s", bare, "no more than decode and reduce")
        whole = list(itertools.islice(itertools.cycle(pixels), FOR_MODEL))
        self._encoder.encode_pixels(whole[: len(whole) // 4])  # so that it is warm
        value, best = rate(self._encoder.encode_pixels, itertools.repeat(whole), self._time_for("model"))
        yield Figure("model", value, "images/s", best, "the fastest moment")

    def texts(self) -> Figure:
        texts = list(itertools.islice(itertools.cycle(PHRASES), FOR_MODEL))
        value, best = rate(self._encoder.encode_texts, itertools.repeat(texts), self._time_for("texts"))
        return Figure("texts", value, "texts/s", best, "the fastest moment")

    def write(self) -> Figure:
        """Into a table of its own; the ceiling is the same bytes in a plain file."""
        store = Store.create(str(self._scratch / "db"), "written", Stamp.of(self._encoder), [])
        noise = np.random.default_rng(0)
        drawn = noise.standard_normal((ROWS_AT_ONCE, self._encoder.dim), np.float32)
        vectors = unit_rows(drawn, ROWS_AT_ONCE, self._encoder.dim)
        jpegs = [noise.bytes(8_000) for _ in range(ROWS_AT_ONCE)]  # what a thumbnail has on average

        def rows() -> Iterator[list[ItemRow]]:
            for first in itertools.count(0, ROWS_AT_ONCE):
                names = (f"{self._scratch}/{first + number:09}.jpg" for number in range(ROWS_AT_ONCE))
                yield [
                    ItemRow(name, "image", uri=name, content_hash=f"{first + at:064x}", thumbnail=jpegs[at])
                    for at, name in enumerate(names)
                ]

        seconds = self._time_for("write")
        value, _ = rate(
            lambda some: store.write(some, vectors, made_by=self._encoder), rows(), seconds * 0.75
        )
        data = [vectors.tobytes() + b"".join(jpegs)] * ROWS_AT_ONCE
        plain, _ = rate(partial(_to_file, self._scratch / "plain"), itertools.repeat(data), seconds * 0.25)
        return Figure("write", value, "rows/s", plain, "the same bytes into a file")

    def index(self, together: float) -> Figure:
        """As many pictures as the ceiling lets hope for in the time, from the file to the commit."""
        count = max(1, int(together * self._time_for("index")))
        folder = self._scratch / "pictures"
        folder.mkdir()
        for number, file in enumerate(self._sample[:count]):
            _linked(file.path, folder / f"{number:05}{os.path.splitext(file.path)[1]}")
        began = time.perf_counter()
        report = self._indexed.index(folder)
        value = (report.added + report.skipped) / (time.perf_counter() - began)
        return Figure("index", value, "images/s", together, "decoding and the model together")

    def query(self, collection: Collection | None) -> tuple[Figure, int]:
        """(warm text queries, the number of items among which they were answered)"""
        searched = collection or self._indexed
        seconds = self._time_for("query")
        searched.search("warm")
        words = (f"{phrase} {number}" for number in itertools.count() for phrase in PHRASES)
        asked = _latency(searched.search, words, seconds / 2)
        embedded = _latency(lambda text: self._encoder.encode_texts([text]), words, seconds / 2)
        return Figure("query", asked, "ms", embedded, "embedding the words alone"), searched.count()

    def _time_for(self, name: str) -> float:
        """The seconds of this stage, which begins now."""
        self._progress(Progress(len(self._begun), len(SHARES), 0))
        self._begun.append(name)
        return self._seconds * SHARES[name] / sum(SHARES.values())


def rate(
    work: Callable[[list[T]], object], batches: Iterable[list[T]], seconds: float
) -> tuple[float, float]:
    """(items a second, those of the fastest batch), while there is time, but of two batches at least."""
    items, spent, best = 0, 0.0, 0.0
    for number, batch in enumerate(batches):
        if number >= 2 and spent >= seconds:
            break
        began = time.perf_counter()
        work(batch)
        taken = max(time.perf_counter() - began, 1e-9)
        items, spent, best = items + len(batch), spent + taken, max(best, len(batch) / taken)
    return items / spent, best


def _latency(ask: Callable[[str], object], words: Iterator[str], seconds: float) -> float:
    """The median in milliseconds, of three at least."""
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < 1000 * seconds:
        text = next(words)
        began = time.perf_counter()
        ask(text)
        taken.append(1000 * (time.perf_counter() - began))
    return median(taken)


def _spread(pictures: Sequence[FoundFile]) -> list[FoundFile]:
    """Up to `SAMPLE` of the pictures, from all over, in an order that begins anywhere."""
    if not pictures:
        raise InvalidInput("there is no picture to measure with")
    step = max(1.0, len(pictures) / SAMPLE)
    chosen = [pictures[int(number * step)] for number in range(min(SAMPLE, len(pictures)))]
    return [chosen[at] for at in np.random.default_rng(0).permutation(len(chosen))]


def _in_pool(pool: ThreadPoolExecutor, work: Callable[[FoundFile], object], files: list[FoundFile]) -> None:
    for _ in pool.map(work, files):
        pass


def _bytes(file: FoundFile) -> None:
    with suppress(OSError), open(file.path, "rb") as stream:
        stream.read()


def _bare(edge: int, file: FoundFile) -> None:
    """The least there is to do from the file to so many pixels: JPEGs are scaled as they are decoded."""
    broken = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # Pillow's ways to say so
    with suppress(*broken), Image.open(file.path) as image:
        image.draft("RGB", (edge, edge))
        image.convert("RGB").resize((edge, edge), Image.Resampling.BICUBIC)


def _to_file(path: Path, data: list[bytes]) -> None:
    with open(path, "wb") as stream:
        stream.write(data[0])
        stream.flush()
        os.fsync(stream.fileno())


def _linked(source: str, target: Path) -> None:
    try:
        target.symlink_to(source)
    except OSError:  # a system, or a disk, without links
        shutil.copyfile(source, target)


def _cores() -> int:
    return os.cpu_count() or 1
