"""The official archives: small ones of the same format, served on this machine."""

import dataclasses
import hashlib
import io
import socket
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from symjax import data
from symjax.data import archive, cifar, download

PER_FILE = 8
FOLDERS = {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}


def small_archive(name, seed=0):
    """The bytes of an archive, and the splits it holds as (images, labels)."""
    published = archive.ARCHIVES[name]
    rng = np.random.default_rng(seed)
    classes = cifar.CLASSES[name]
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
        server, wanted = self.server, self.headers.get("Range")
        server.ranges.append(wanted)
        body, status = server.payload, 200
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if server.status:
            return self.send_error(server.status)
        if wanted and start >= len(body) and server.mode != "no ranges":
            return self.send_error(416)
        if wanted and server.mode == "ranges":
            status, body = 206, body[start:]
        elif wanted and server.mode == "misplaced":
            status, start = 206, 0
        self.send_response(status)
        if status == 206:
            last = len(server.payload) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        self.send_header("Content-Length", str(len(body)))
        # As some servers do for .tar.gz; the file must arrive packed all the same.
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body[: server.break_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.payload, server.ranges = b"", []
        server.mode, server.status, server.break_after = "ranges", None, None
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def publish(monkeypatch, name, content, port):
    """Makes `content` behind 127.0.0.1:port the official archive."""
    published = archive.ARCHIVES[name]
    changed = dataclasses.replace(
        published,
        url=f"http://127.0.0.1:{port}/{published.filename}",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
    )
    monkeypatch.setitem(archive.ARCHIVES, name, changed)
    return changed


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def load(tmp_path, name="cifar10", progress=False):
    return data.load(
        name, data_dir=tmp_path, cache_dir=tmp_path / "cache", progress=progress
    )


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
    dataset = load(tmp_path, name, progress=True)
    assert_holds(dataset, splits)
    assert dataset.class_names[3] == "name_3"
    assert dataset.classes == cifar.CLASSES[name]
    assert dataset.source == published.url
    folder = tmp_path / "cache" / "archives"
    assert [file.name for file in folder.iterdir()] == [published.filename]
    # Neither the archive nor the network is needed again.
    (folder / published.filename).unlink()
    server.status = 503
    assert load(tmp_path, name).sha256 == dataset.sha256
    assert server.ranges == [None]


def test_broken_download_goes_on_where_it_stopped(tmp_path, server, monkeypatch):
    server.payload, splits = small_archive("cifar10")
    published = publish(monkeypatch, "cifar10", server.payload, server.server_port)
    server.break_after = 100_000
    with pytest.raises(data.DataNotFoundError, match="broke off after 0.1 of 0.1 MB"):
        load(tmp_path)
    part = tmp_path / "cache" / "archives" / f"{published.filename}.part"
    have = part.stat().st_size
    assert 0 < have <= 100_000
    server.break_after = None
    assert_holds(load(tmp_path), splits)
    assert server.ranges == [None, f"bytes={have}-"]
    assert not part.exists()


@pytest.mark.parametrize(
    "mode, before, requests",
    [
        ("ranges", b"", [None]),
        ("ranges", b"abc", ["bytes=3-"]),
        ("ranges", b"abcdefgh", []),
        ("no ranges", b"abc", ["bytes=3-"]),
        ("misplaced", b"abc", ["bytes=3-", None]),
        ("ranges", b"abcdefgh and more", ["bytes=17-", None]),
    ],
)
def test_whatever_is_there_the_whole_file_arrives(
    mode, before, requests, tmp_path, server
):
    server.payload, server.mode = b"abcdefgh", mode
    part, target = tmp_path / "x.part", tmp_path / "x"
    part.write_bytes(before)
    url = f"http://127.0.0.1:{server.server_port}/x"
    download.ResumingDownloader(part, size=8)(url, str(target), None)
    assert target.read_bytes() == b"abcdefgh"
    assert server.ranges == requests
    assert not part.exists()


def test_wrong_download_says_expected_and_got(tmp_path, server, monkeypatch):
    content, _ = small_archive("cifar10")
    published = publish(monkeypatch, "cifar10", content, server.server_port)
    server.payload, _ = small_archive("cifar10", seed=1)
    got = hashlib.sha256(server.payload).hexdigest()
    with pytest.raises(data.ArchiveHashError, match="not the published") as caught:
        load(tmp_path)
    assert published.sha256 in str(caught.value) and got in str(caught.value)
    assert list((tmp_path / "cache" / "archives").iterdir()) == []


def test_archive_in_the_data_folder_is_used(tmp_path, monkeypatch):
    content, splits = small_archive("cifar100")
    published = publish(monkeypatch, "cifar100", content, closed_port())
    (tmp_path / published.filename).write_bytes(content)
    assert_holds(load(tmp_path, "cifar100"), splits)


def test_wrong_archive_in_the_data_folder_says_so(tmp_path, monkeypatch):
    content, _ = small_archive("cifar10")
    published = publish(monkeypatch, "cifar10", content, closed_port())
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


def test_no_data_and_no_network_is_one_clear_error(tmp_path, monkeypatch):
    published = publish(monkeypatch, "cifar10", b"some content", closed_port())
    start = time.monotonic()
    with pytest.raises(data.DataNotFoundError, match="no connection to 127") as caught:
        load(tmp_path)
    assert time.monotonic() - start < 5
    assert isinstance(caught.value, FileNotFoundError)
    assert_names_every_way_out(caught.value, tmp_path, published)


def test_a_name_server_that_hangs_does_not_hang_us(tmp_path, monkeypatch):
    published = publish(monkeypatch, "cifar10", b"some content", closed_port())
    hang = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: hang.wait(30) or [])
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(data.DataNotFoundError, match="TimeoutError") as caught:
        load(tmp_path)
    assert time.monotonic() - start < 5
    assert_names_every_way_out(caught.value, tmp_path, published)
    hang.set()


def test_waiting_for_an_answer_stays_below_ten_seconds():
    assert download.CONNECT_SECONDS <= download.ANSWER_SECONDS < 10


def test_a_server_that_refuses_is_named(tmp_path, server, monkeypatch):
    published = publish(monkeypatch, "cifar10", b"content", server.server_port)
    server.status = 404
    with pytest.raises(data.DataNotFoundError, match="404") as caught:
        load(tmp_path)
    assert_names_every_way_out(caught.value, tmp_path, published)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"test_batch.bin": None}, "lacks test_batch.bin"),
        ({"data_batch_2.bin": bytes(3072)}, "no multiple of a record's 3073 bytes"),
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
