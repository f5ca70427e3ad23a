from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipkit.encoder import Pixels
from clipkit.encoders import load_encoder
from clipkit.encoders.devices import Placement
from clipkit.encoders.openclip import OpenClipEncoder
from clipkit.encoders.towers import Replicas, be_one_thread, halving
from tests import models


class Sum(torch.nn.Module):
    """Adds up the columns of each row, for up to `most` rows: beyond, memory is full."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.sizes: list[int] = []

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(rows))
        if len(rows) > self.most:
            raise torch.OutOfMemoryError(f"{len(rows)} rows")
        return rows.sum(dim=1, keepdim=True)


@pytest.mark.parametrize(("n", "most", "size"), [(8, 8, 8), (8, 7, 4), (9, 2, 2), (7, 1, 1), (1, 1, 1)])
def test_a_batch_too_large_for_memory_is_halved_until_it_fits(n: int, most: int, size: int) -> None:
    model = Sum(most)
    inputs = [torch.tensor([float(i), 1.0]) for i in range(n)]
    rows, fitted = halving(lambda part: model(torch.stack(part)).numpy(), inputs)
    assert rows.tolist() == [[i + 1.0] for i in range(n)]
    assert fitted == size


def test_one_input_too_large_for_memory_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError, match="1 rows"):
        halving(lambda part: Sum(0)(torch.stack(part)).numpy(), [torch.ones(2)] * 3)


def test_replicas_are_copies_that_share_the_batches() -> None:
    model = Sum(4)
    replicas = Replicas(model, ("cpu", "cpu"))
    assert replicas.lanes == 2
    with replicas.borrow() as first, replicas.borrow() as second:
        assert first.model is model
        assert second.model is not model
        batch = torch.ones(3, 2)
        np.testing.assert_array_equal(
            first.rows(lambda m, rows: m(rows), batch), second.rows(lambda m, rows: m(rows), batch)
        )


def test_a_replica_is_lent_to_one_at_a_time() -> None:
    replicas = Replicas(Sum(4), ("cpu", "cpu"))
    lent: list[int] = []
    most = 0
    lock = threading.Lock()

    def work(_: int) -> None:
        nonlocal most
        with replicas.borrow() as replica:
            with lock:
                assert id(replica.model) not in lent
                lent.append(id(replica.model))
                most = max(most, len(lent))
            replica.rows(lambda m, rows: m(rows), torch.ones(2, 2))
            with lock:
                lent.remove(id(replica.model))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))
    assert 1 <= most <= 2


def test_a_replica_comes_back_after_an_error() -> None:
    replicas = Replicas(Sum(0), ("cpu", "cpu"))
    for _ in range(5):
        with pytest.raises(torch.OutOfMemoryError, match="1 rows"), replicas.borrow() as replica:
            replica.rows(lambda m, rows: m(rows), torch.ones(1, 2))


def test_a_thread_alone_leaves_the_others_their_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(1, initializer=be_one_thread) as alone:
            assert alone.submit(torch.get_num_threads).result() == 1
        with ThreadPoolExecutor(1) as other:
            assert other.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# --- the encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.model_folder(tmp_path_factory.mktemp("towers") / "model")


def load(folder: Path, devices: int = 1) -> OpenClipEncoder:
    from clipkit.encoders import Options
    from clipkit.encoders.sources import locate

    name = f"local-dir:{folder}"
    placement = Placement("cpu", "fp32", ("cpu",) * (devices - 1))
    return OpenClipEncoder(name, locate(name), placement, Options(batch_size=4))


def pixels(n: int) -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8))


def test_two_replicas_give_the_rows_of_one_in_order(folder: Path) -> None:
    expected = load(folder).encode_pixels(pixels(30))
    shared = load(folder, devices=2)
    assert shared.lanes == 2
    np.testing.assert_allclose(shared.encode_pixels(pixels(30)), expected, atol=1e-6)
    texts = [f"{i} " * (i % 7) for i in range(30)]
    np.testing.assert_allclose(shared.encode_texts(texts), load(folder).encode_texts(texts), atol=1e-6)


def test_batches_run_at_the_same_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = load(folder, devices=2)
    both = threading.Barrier(2, timeout=30)
    encode = OpenClipEncoder._pixel_batch

    def meet(self: OpenClipEncoder, batch: list[Pixels]) -> Any:
        both.wait()  # breaks unless another batch comes while this one is under way
        return encode(self, batch)

    monkeypatch.setattr(OpenClipEncoder, "_pixel_batch", meet)
    assert shared.encode_pixels(pixels(8)).shape == (8, shared.dim)


def test_batches_of_several_callers_run_at_the_same_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = load(folder, devices=2)
    expected = shared.encode_texts(["a", "b"])
    both = threading.Barrier(2, timeout=30)
    encode = OpenClipEncoder._text_batch

    def meet(self: OpenClipEncoder, batch: list[str]) -> Any:
        both.wait()  # breaks unless another caller's batch is under way
        return encode(self, batch)

    monkeypatch.setattr(OpenClipEncoder, "_text_batch", meet)
    with ThreadPoolExecutor(2) as callers:
        rows = [*callers.map(shared.encode_texts, [["a"], ["b"]] * 3)]
    np.testing.assert_allclose(np.concatenate(rows), np.tile(expected, (3, 1)), atol=1e-6)


def test_tracing_changes_no_row(folder: Path) -> None:
    encoder = load(folder)
    texts = ["red", "a photo of two dogs", "", "Größe"]
    expected = encoder.encode_texts(texts)
    encoder.trace()
    np.testing.assert_allclose(encoder.encode_texts(texts), expected, atol=1e-6)
    np.testing.assert_allclose(encoder.encode_texts(texts[:1]), expected[:1], atol=1e-6)


@pytest.mark.parametrize(("n", "sizes"), [(4, [4]), (8, [4, 4]), (9, [3, 3, 3]), (10, [3, 3, 3, 1]), (0, [])])
def test_each_lane_gets_as_many_pictures(
    folder: Path, monkeypatch: pytest.MonkeyPatch, n: int, sizes: list[int]
) -> None:
    shared = load(folder, devices=2)
    seen: list[int] = []
    encode = OpenClipEncoder._pixel_batch

    def noted(self: OpenClipEncoder, batch: list[Pixels]) -> Any:
        seen.append(len(batch))
        return encode(self, batch)

    monkeypatch.setattr(OpenClipEncoder, "_pixel_batch", noted)
    assert len(shared.encode_pixels(pixels(n))) == n
    assert sorted(seen, reverse=True) == sizes


def test_no_picture_is_lost_when_memory_runs_out_and_batches_stay_small(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load(folder).encode_pixels(pixels(20))
    encoder = load(folder)
    sizes: list[int] = []
    tower = type(encoder._model.visual)
    forward = tower.forward

    def small(self: Any, batch: torch.Tensor) -> Any:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("full")
        return forward(self, batch)

    monkeypatch.setattr(tower, "forward", small)
    np.testing.assert_allclose(encoder.encode_pixels(pixels(20)), expected, atol=1e-6)
    assert encoder.batch_size == 2
    sizes.clear()
    encoder.encode_pixels(pixels(6))
    assert sizes == [2, 2, 2]


def test_a_picture_without_direction_is_named_by_its_place_in_all_batches(folder: Path) -> None:
    from clipkit.errors import InvalidInput

    encoder = load(folder, devices=2)
    with torch.no_grad():
        encoder._model.visual.proj.fill_(torch.nan)
    with pytest.raises(InvalidInput, match="input 0: its embedding is not finite"):
        encoder.encode_pixels(pixels(20))


def test_text_batches_hold_texts_of_like_length(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load(folder)
    seen: list[list[int]] = []
    encode = OpenClipEncoder._text_batch

    def note(self: OpenClipEncoder, texts: list[str]) -> Any:
        seen.append([len(text) for text in texts])
        return encode(self, texts)

    monkeypatch.setattr(OpenClipEncoder, "_text_batch", note)
    texts = ["a" * n for n in (9, 1, 8, 2, 7, 3, 6, 4)]
    rows = encoder.encode_texts(texts)
    assert seen == [[1, 2, 3, 4], [6, 7, 8, 9]]
    for row, text in zip(rows, texts, strict=True):
        np.testing.assert_allclose(row, encoder.encode_texts([text])[0], atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_rows_of_one_batch_in_many(folder: Path) -> None:
    encoder = load_encoder(f"local-dir:{folder}", device="cuda", precision="fp32", batch_size=4)
    whole = load_encoder(f"local-dir:{folder}", device="cuda", precision="fp32", batch_size=64)
    np.testing.assert_allclose(encoder.encode_pixels(pixels(50)), whole.encode_pixels(pixels(50)), atol=1e-5)
