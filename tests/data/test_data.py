"""Data sets: contents, sources, the array cache, and cuts."""

import hashlib
import io
import shutil
import socket
import types

import numpy as np
import pytest
from PIL import Image

from symjax import data
from symjax.data import cache, tfds_source
from symjax.data.digits import FILE

NAMES = [f"class {k}" for k in range(10)]
DIGITS_PER_CLASS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No test here may connect to anything."""

    def refuse(self, address):
        raise AssertionError(f"connecting to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def small_arrays(seed=0, train=30, test=12):
    rng = np.random.default_rng(seed)
    arrays = {"class_names": np.asarray(NAMES)}
    for split, count in (("train", train), ("test", test)):
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        arrays[f"{split}_images"] = images
        arrays[f"{split}_labels"] = np.arange(count) % 10
    return arrays


def write_npz(folder, name="cifar10", **changes):
    folder.mkdir(exist_ok=True)
    arrays = {**small_arrays(), **changes}
    np.savez(
        folder / f"{name}.npz", **{k: v for k, v in arrays.items() if v is not None}
    )
    return arrays


def write_tfds(folder, arrays):
    """Has TFDS itself prepare a small CIFAR-10, from PNG files."""
    import tensorflow_datasets as tfds

    def examples(split):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "PNG")
            png.seek(0)
            key = f"{split}_{index:05d}"
            yield key, {"id": key, "image": png, "label": int(label)}

    def split_generators(self, _):
        self.info.features["label"].names = NAMES
        return {split: examples(split) for split in ("train", "test")}

    builder = tfds.builder("cifar10", data_dir=folder, file_format="array_record")
    builder._split_generators = types.MethodType(split_generators, builder)
    builder.download_and_prepare()
    return folder / "cifar10" / str(builder.version)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    return folder, write_tfds(folder, small_arrays())


def load(folder, tmp_path, **options):
    options = {"cache_dir": tmp_path / "cache", **options}
    return data.load("cifar10", data_dir=folder, **options)


def assert_holds(dataset, arrays):
    for split in ("train", "test"):
        images, labels = getattr(dataset, split)
        assert images.dtype == np.uint8 and labels.dtype == np.int32
        np.testing.assert_array_equal(images, arrays[f"{split}_images"])
        np.testing.assert_array_equal(labels, arrays[f"{split}_labels"])
    assert dataset.class_names == tuple(NAMES)


class TestDigits:
    def test_splits_are_stratified_and_fixed(self):
        digits = data.load("digits")
        assert digits.train.images.shape == (1437, 16, 16, 1)
        assert digits.test.images.shape == (360, 16, 16, 1)
        assert digits.train.images.dtype == np.uint8
        assert digits.train.labels.dtype == np.int32
        assert digits.classes == 10 and digits.image_shape == (16, 16, 1)
        assert digits.class_names == tuple("0123456789")
        assert digits.validation is None
        train, test = (np.bincount(s.labels) for s in (digits.train, digits.test))
        np.testing.assert_array_equal(train + test, DIGITS_PER_CLASS)
        assert np.abs(test - np.asarray(DIGITS_PER_CLASS) * 360 / 1797).max() < 1

    def test_they_are_those_of_scikit_learns_load_digits(self):
        """Whose arrays, as uint8, had this hash, and these hashes as data sets."""
        with np.load(FILE) as file:
            images, labels = file["images"], file["labels"]
        assert images.dtype == labels.dtype == np.uint8
        assert hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() == (
            "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
        )
        for size, wanted in (
            (8, "2579835e36c6f014e5312b1f9da197dc5e5f679f50f8b241cf0b90a70a78b0c0"),
            (16, "d5bc24d81a2394cd141d7dc56d3e537fc09ec544c3c5747935136b2a25b21264"),
        ):
            assert data.load("digits", size=size).sha256 == wanted
        digits = data.load("digits", size=8)
        found = np.concatenate([digits.train.images, digits.test.images])[..., 0]
        rescaled = np.round(images * (255 / 16)).astype(np.uint8)
        assert sorted(map(bytes, found)) == sorted(map(bytes, rescaled))

    def test_resizing_keeps_the_picture(self):
        small, large = (data.load("digits", size=size) for size in (8, 32))
        blocks = large.test.images.reshape(-1, 8, 4, 8, 4).mean((2, 4))
        assert np.abs(blocks - small.test.images[..., 0]).mean() < 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *[({"size": x}, f"size={x!r}: expected an int") for x in (0, 2.5, "8", None)],
        ({"train_images": 1.5}, "train_images=1.5: expected an integer"),
        ({"validation_images": 1.5}, "validation_images=1.5: expected an integer"),
        ({"train_images": 1438}, "train_images=1438: expected 0"),
        ({"train_images": -1}, "train_images=-1"),
        ({"validation_images": 1437}, "validation_images=1437: expected 0 to 1436"),
        ({"validation_images": -1}, "validation_images=-1"),
        ({"validation_images": 437, "train_images": 1001}, "to 1000, because"),
        ({"name": 3}, "data set 3: expected one of digits, cifar10, cifar100"),
        ({"name": "cifr10"}, "did you mean 'cifar10'"),
    ],
)
def test_other_names_and_numbers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        data.load(**{"name": "digits", **options})


class TestSources:
    def test_npz_and_tfds_give_back_what_was_written(self, prepared, tmp_path):
        folder, version = prepared
        arrays = write_npz(tmp_path / "here")
        from_npz = load(tmp_path / "here", tmp_path)
        assert_holds(from_npz, arrays)
        assert from_npz.source == str(tmp_path / "here" / "cifar10.npz")
        dataset = load(folder, tmp_path)
        assert_holds(dataset, small_arrays())
        assert dataset.source == str(version) and dataset.sha256 == from_npz.sha256

    def test_hash_sees_every_part(self, tmp_path):
        original = small_arrays()
        pixel = original["train_images"].copy()
        pixel[3, 2, 1, 0] ^= 1
        changes = (
            {},
            {"train_images": pixel},
            {"test_labels": original["test_labels"][::-1]},
            {"class_names": np.asarray(NAMES[::-1])},
        )
        hashes = set()
        for number, change in enumerate(changes):
            write_npz(tmp_path / str(number), **change)
            hashes.add(load(tmp_path / str(number), tmp_path).sha256)
        assert len(hashes) == len(changes)

    def test_tfds_takes_the_newest_complete_version(self, tmp_path):
        for version in ("3.0.2", "3.0.10", "9.0.0", "incomplete.XY_9.9.9"):
            (tmp_path / version).mkdir()
            (tmp_path / version / "dataset_info.json").touch()
            form = "tfrecord" if version == "9.0.0" else "array_record"
            (tmp_path / version / f"x-train.{form}-00000-of-00001").touch()
        assert tfds_source.find(tmp_path) == tmp_path / "3.0.10"
        assert tfds_source.find(tmp_path / "nowhere") is None

    def test_tfds_with_a_truncated_shard_is_an_error(self, tmp_path):
        version = write_tfds(tmp_path / "tfds", small_arrays(train=3, test=2))
        shard = next(version.glob("*test.array_record-*"))
        shard.write_bytes(shard.read_bytes()[:-1000])
        with pytest.raises(ValueError, match=f"{version} cannot be read"):
            load(tmp_path / "tfds", tmp_path)
        assert not (tmp_path / "cache").exists()

    @pytest.mark.parametrize("lost", ["features.json", "dataset_info.json"])
    def test_tfds_folder_that_is_not_whole_is_an_error(self, prepared, tmp_path, lost):
        version = tmp_path / "cifar10" / "3.0.2"
        shutil.copytree(prepared[1], version)
        (version / lost).write_text("") if "info" in lost else (version / lost).unlink()
        with pytest.raises(ValueError, match=f"{version} cannot be read"):
            load(tmp_path, tmp_path)

    @pytest.mark.parametrize(
        "changes, message",
        [
            ({"test_labels": None}, "cifar10.npz lacks test_labels; expected"),
            (
                {"class_names": np.asarray(NAMES[:9])},
                "labels from 0 to 9; expected 0 to 8",
            ),
            ({"class_names": np.asarray([*NAMES, "more"])}, "11 classes; expected"),
            ({"train_labels": np.arange(30) - 1}, "labels from -1"),
            ({"train_labels": np.arange(30.0)}, "train split has labels float64"),
            ({"train_labels": np.arange(29)}, r"labels int64 \[29\]; expected.*\[30\]"),
            ({"test_images": np.zeros((12, 32, 32, 3))}, "test split has images float"),
            (
                {"test_images": np.zeros((12, 8, 8, 3), "u1")},
                r"test images \(8, 8, 3\)",
            ),
            ({"test_images": np.zeros((0, 32, 32, 3), "u1")}, "at least one"),
            (
                {
                    "train_images": np.zeros((30, 16, 16, 3), "u1"),
                    "test_images": np.zeros((12, 16, 16, 3), "u1"),
                },
                r"\[16, 16, 3\] of 10 classes",
            ),
            (
                {"class_names": np.asarray(NAMES, object)},
                "cannot be read .*copy or write it",
            ),
        ],
    )
    def test_wrong_arrays_are_named(self, tmp_path, changes, message):
        write_npz(tmp_path / "here", **changes)
        with pytest.raises(ValueError, match=message):
            load(tmp_path / "here", tmp_path)
        assert not (tmp_path / "cache").exists()


class TestCache:
    @pytest.fixture
    def here(self, tmp_path):
        write_npz(tmp_path / "here")
        return tmp_path / "here"

    @staticmethod
    def file(tmp_path):
        (file,) = (tmp_path / "cache").iterdir()
        return file

    def test_second_load_decodes_nothing(self, prepared, tmp_path, monkeypatch):
        first = load(prepared[0], tmp_path)
        monkeypatch.setattr(tfds_source, "read", lambda *_: pytest.fail("decoded"))
        again = load(prepared[0], tmp_path)
        assert_holds(again, small_arrays())
        assert (again.sha256, again.source) == (first.sha256, first.source)

    def test_another_folder_or_a_changed_file_is_another_source(self, here, tmp_path):
        first = load(here, tmp_path)
        write_npz(tmp_path / "there", **small_arrays(seed=1))
        assert load(tmp_path / "there", tmp_path).sha256 != first.sha256
        changed = write_npz(here, **small_arrays(seed=2))
        assert_holds(load(here, tmp_path), changed)

    @pytest.mark.parametrize("damage", ["bit", "truncated", "empty", "other", "text"])
    def test_damaged_file_is_named_and_rebuilt(self, here, tmp_path, damage):
        load(here, tmp_path)
        file = self.file(tmp_path)
        good = bytearray(file.read_bytes())
        if damage == "other":  # A sound zip file, but not the arrays that were hashed.
            with np.load(file) as archive:
                arrays = dict(archive)
            arrays["train_images"][0, 0, 0, 0] ^= 1
            np.savez(file, **arrays)
        elif damage == "bit":
            flipped = good.copy()
            flipped[len(good) // 2] ^= 1
            file.write_bytes(flipped)
        else:
            bad = {"truncated": good[:-9000], "empty": b"", "text": b"not arrays"}
            file.write_bytes(bad[damage])
        with pytest.warns(UserWarning, match=f"damaged cache file.*{file.name}"):
            assert_holds(load(here, tmp_path), small_arrays())
        assert_holds(load(here, tmp_path), small_arrays())
        assert self.file(tmp_path) == file

    @pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
    def test_failure_while_writing_leaves_nothing(
        self, here, tmp_path, monkeypatch, failure
    ):
        def fail(file, **_):
            file.write_bytes(b"half of it")
            raise failure

        monkeypatch.setattr(np, "savez", fail)
        if isinstance(failure, OSError):
            with pytest.warns(UserWarning, match="disk full.*cache_dir"):
                assert_holds(load(here, tmp_path), small_arrays())
        else:
            with pytest.raises(KeyboardInterrupt):
                load(here, tmp_path)
        assert list((tmp_path / "cache").iterdir()) == []

    def test_writing_again_keeps_the_old_file_until_the_new_one_is_whole(
        self, here, tmp_path, monkeypatch
    ):
        dataset = load(here, tmp_path)
        file = self.file(tmp_path)
        before = file.read_bytes()
        monkeypatch.setattr(np, "savez", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cache._write(file, dataset)
        assert self.file(tmp_path) == file and file.read_bytes() == before

    def test_default_folder(self, monkeypatch, tmp_path):
        monkeypatch.delenv("SYMJAX_CACHE", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache.default_folder() == tmp_path / "symjax"
        monkeypatch.setenv("SYMJAX_CACHE", str(tmp_path / "own"))
        assert cache.default_folder() == tmp_path / "own"
        write_npz(tmp_path / "here")
        for unset in (None, ""):
            load(tmp_path / "here", tmp_path, cache_dir=unset)
            assert len(list((tmp_path / "own").iterdir())) == 1


class TestCuts:
    def test_validation_and_training_never_overlap_and_keep_their_labels(self):
        whole = data.load("digits")
        pairs = zip(whole.train.images, whole.train.labels, strict=True)
        label_of = {bytes(image): label for image, label in pairs}
        held = data.load("digits", validation_images=200, train_images=1000)
        assert len(held.validation.labels) == 200 and len(held.train.labels) == 1000
        rest = data.load("digits", validation_images=200)
        assert len(rest.train.labels) == 1237
        pieces = np.concatenate([rest.train.images, rest.validation.images])
        # Together they are the training images, each exactly as often as before.
        assert sorted(map(bytes, pieces)) == sorted(map(bytes, whole.train.images))
        subset = set(map(bytes, held.train.images))
        assert subset <= set(map(bytes, rest.train.images))
        assert not subset & set(map(bytes, held.validation.images))
        for split in (held.train, held.validation):
            assert [label_of[bytes(i)] for i in split.images] == split.labels.tolist()
        assert held.sha256 == whole.sha256
        np.testing.assert_array_equal(held.test.images, whole.test.images)

    def test_cuts_are_fixed_and_nested(self):
        one, again, two = (
            data.load("digits", train_images=n).train for n in (100, 100, 300)
        )
        np.testing.assert_array_equal(one.images, two.images[:100])
        np.testing.assert_array_equal(one.labels, two.labels[:100])
        np.testing.assert_array_equal(one.images, again.images)
