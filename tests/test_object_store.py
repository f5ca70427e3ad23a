"""A collection in an S3-compatible store, served on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from clipkit import Collection
from clipkit.errors import StorageError
from clipkit.lance import snapshots
from clipkit.testing import FakeEncoder
from tests.pictures import draw_folder


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(
        Bucket="photos"
    )
    yield "s3://photos/db"
    server.stop()


def test_a_bucket_is_used_like_a_folder(bucket: str, tmp_path: Path) -> None:
    draw_folder(tmp_path / "photos", 30)
    collection = Collection.create(db=bucket, encoder=FakeEncoder())
    assert collection.index(tmp_path / "photos").added == 30
    collection.add_texts(["red"], ids=["word"])
    (tmp_path / "photos" / "0").rename(tmp_path / "photos" / "zero")

    again = Collection.open(db=bucket)
    assert again.db == bucket
    assert again.index(tmp_path / "photos").moved == 5
    hits = again.search("red", k=3)
    assert hits[0].id == "word"
    assert hits[0].score == pytest.approx(1.0)
    assert len(again.thumbnails([hit.id for hit in hits])) == 2
    again.delete(["word"])
    again.optimize()
    assert collection.count() == 30
    assert Collection.names(bucket) == ["default"]


def test_models_and_versions_change_in_a_bucket(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "SETTLE_S", 0.0)  # nobody else cleans up
    draw_folder(tmp_path / "photos", 10)
    collection = Collection.create("changing", db=bucket, encoder="fake")  # moto keeps what others made
    collection.index(tmp_path / "photos")
    collection.snapshot("small")
    assert collection.reindex("fake:48").switched
    collection.add_texts(["red"], ids=["word"])
    collection.drop_old_vectors()
    assert collection.search("red", k=1)[0].id == "word"
    collection.restore("small")
    assert (collection.count(), collection.encoder_name) == (10, "fake")
    assert collection.search("red", k=1)[0].score > 0.9
    collection.delete_snapshot("small")
    assert [each.items for each in collection.snapshots()] == [11]


def test_a_bucket_out_of_reach_is_a_storage_error(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="s3://no-such-bucket/db"):
        Collection.create(db="s3://no-such-bucket/db", encoder=FakeEncoder())
