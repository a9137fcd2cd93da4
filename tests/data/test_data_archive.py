"""The official archives: small ones of the same format, served on this machine."""

import dataclasses
import hashlib
import io
import shutil
import socket
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from symjax import data
from symjax.data import archive
from symjax.data.catalog import CIFAR_CLASSES

PER_FILE = 8
FOLDERS = {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}


def small_archive(name, seed=0):
    """The bytes of an archive, and the splits it holds as (images, labels)."""
    published = archive.ARCHIVES[name]
    rng = np.random.default_rng(seed)
    classes = CIFAR_CLASSES[name]
    files = {
        published.names_file: "".join(f"name_{k}\n" for k in range(classes)) + "\n"
    }
    files = {key: text.encode() for key, text in files.items()}
    splits = []
    for members in (published.train_files, published.test_files):
        images, labels = [], []
        for member in members:
            chosen = rng.integers(0, 256, (PER_FILE, 32, 32, 3), dtype=np.uint8)
            classed = rng.integers(0, classes, PER_FILE, dtype=np.uint8)
            records = b""
            for image, label in zip(chosen, classed, strict=True):
                records += bytes([17] * (published.label_bytes - 1) + [label])
                for channel in range(3):
                    records += image[:, :, channel].tobytes()
            files[member] = records
            images.append(chosen)
            labels.append(classed)
        splits.append((np.concatenate(images), np.concatenate(labels)))
    return pack(FOLDERS[name], files), splits


def pack(folder, files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member, content in sorted(files.items()):
            info = tarfile.TarInfo(f"{folder}/{member}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.payload`, as well or as badly as the server is told to."""

    def do_GET(self):
        server = self.server
        server.requests += 1
        if server.status:
            return self.send_error(server.status)
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.payload)))
        self.end_headers()
        self.wfile.write(server.payload[: server.stop_after])
        self.wfile.flush()
        server.may_close.wait(30)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.payload, server.requests = b"", 0
        server.status, server.stop_after = None, None
        server.may_close = threading.Event()
        server.may_close.set()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.may_close.set()
        server.shutdown()
        thread.join()


def publish(monkeypatch, name, content, port):
    """Makes `content` behind 127.0.0.1:port the official archive."""
    published = archive.ARCHIVES[name]
    changed = dataclasses.replace(
        published,
        url=f"http://127.0.0.1:{port}/{published.filename}",
        sha256=hashlib.sha256(content).hexdigest(),
    )
    monkeypatch.setitem(archive.ARCHIVES, name, changed)
    return changed


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def load(tmp_path, name="cifar10"):
    return data.load(name, data_dir=tmp_path, cache_dir=tmp_path / "cache")


def assert_holds(dataset, splits):
    for split, (images, labels) in zip(
        (dataset.train, dataset.test), splits, strict=True
    ):
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, labels)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_archive_is_downloaded_read_and_kept(name, tmp_path, server, monkeypatch):
    server.payload, splits = small_archive(name)
    published = publish(monkeypatch, name, server.payload, server.server_port)
    dataset = load(tmp_path, name)
    assert_holds(dataset, splits)
    assert dataset.class_names[3] == "name_3"
    assert dataset.classes == CIFAR_CLASSES[name]
    assert dataset.source == published.url
    folder = tmp_path / "cache" / "archives"
    assert [file.name for file in folder.iterdir()] == [published.filename]
    # Neither the archive nor the network is needed again.
    (folder / published.filename).unlink()
    server.status = 503
    assert load(tmp_path, name).sha256 == dataset.sha256
    assert server.requests == 1


@pytest.mark.parametrize("stalls", [False, True])
def test_half_a_download_is_no_archive(stalls, tmp_path, server, monkeypatch):
    """The server closes the connection early, or keeps it open and sends no more."""
    server.payload, splits = small_archive("cifar10")
    published = publish(monkeypatch, "cifar10", server.payload, server.server_port)
    server.stop_after = 100_000
    if stalls:
        server.may_close.clear()
        monkeypatch.setattr(archive, "TIMEOUT", 0.2)
    reason = "timed out" if stalls else "IncompleteRead"
    with pytest.raises(data.DataNotFoundError, match=reason) as caught:
        load(tmp_path)
    assert_names_every_way_out(caught.value, tmp_path, published)
    assert list((tmp_path / "cache" / "archives").iterdir()) == []
    server.stop_after = None
    server.may_close.set()
    assert_holds(load(tmp_path), splits)


def test_wrong_download_says_expected_and_got(tmp_path, server, monkeypatch):
    content, _ = small_archive("cifar10")
    published = publish(monkeypatch, "cifar10", content, server.server_port)
    server.payload, _ = small_archive("cifar10", seed=1)
    got = hashlib.sha256(server.payload).hexdigest()
    with pytest.raises(data.ArchiveHashError, match="not the published") as caught:
        load(tmp_path)
    assert published.sha256 in str(caught.value) and got in str(caught.value)
    assert list((tmp_path / "cache" / "archives").iterdir()) == []


def test_archive_in_the_data_folder_is_used_if_it_is_the_published_one(
    tmp_path, monkeypatch
):
    content, splits = small_archive("cifar10")
    published = publish(monkeypatch, "cifar10", content, closed_port())
    (tmp_path / published.filename).write_bytes(content)
    assert_holds(load(tmp_path), splits)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / published.filename).write_bytes(content[:-1])
    with pytest.raises(data.ArchiveHashError) as caught:
        load(tmp_path)
    for part in (
        str(tmp_path / published.filename),
        f"expected SHA-256 {published.sha256}",
        f"got {hashlib.sha256(content[:-1]).hexdigest()}",
    ):
        assert part in str(caught.value)


def assert_names_every_way_out(error, tmp_path, published):
    assert error.__cause__ is None and error.__suppress_context__
    for part in (
        "'cifar10'",
        str(tmp_path / "cifar10"),
        "array_record",
        f"{published.url}, put into {tmp_path}",
        str(tmp_path / "cifar10.npz"),
        "--config.dataset.name=digits",
    ):
        assert part in str(error)


def test_no_network_and_a_server_that_refuses_are_one_error(
    tmp_path, server, monkeypatch
):
    published = publish(monkeypatch, "cifar10", b"some content", closed_port())
    with pytest.raises(data.DataNotFoundError, match="Connection refused") as caught:
        load(tmp_path)
    assert_names_every_way_out(caught.value, tmp_path, published)
    publish(monkeypatch, "cifar10", b"content", server.server_port)
    server.status = 404
    with pytest.raises(data.DataNotFoundError, match="404") as caught:
        load(tmp_path)
    caught.value.__context__.response.close()  # pooch leaves it open


@pytest.mark.parametrize(
    "change, message",
    [
        ({"test_batch.bin": None}, "lacks test_batch.bin"),
        ({"data_batch_2.bin": bytes(3072)}, "expected a multiple of 3073"),
        ({"test_batch.bin": b""}, "test split has images.*at least one"),
        ({"test_batch.bin": bytes([10]) + bytes(3072)}, "labels from 10 to 10"),
    ],
)
def test_archive_with_other_contents_is_refused(change, message, tmp_path, monkeypatch):
    record = bytes(3073)
    published = archive.ARCHIVES["cifar10"]
    files = {file: record for file in (*published.train_files, "test_batch.bin")}
    files[published.names_file] = "\n".join(map(str, range(10))).encode()
    files = {key: value for key, value in (files | change).items() if value is not None}
    content = pack(FOLDERS["cifar10"], files)
    published = publish(monkeypatch, "cifar10", content, closed_port())
    (tmp_path / published.filename).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_published_archives_are_the_binary_ones():
    for name, kind in (("cifar10", "10"), ("cifar100", "100")):
        published = archive.ARCHIVES[name]
        assert published.filename == f"cifar-{kind}-binary.tar.gz"
        assert published.url.startswith("https://www.cs.toronto.edu/~kriz/")
        assert len(bytes.fromhex(published.sha256)) == 32
