"""The published corruptions: official arrays, TFDS, and what is not them."""

import io
import types

import numpy as np
import pytest
from PIL import Image

from symjax.data import cifar_c
from symjax.data.dataset import Split

COUNT = 6
RNG = np.random.default_rng(0)
TEST = Split(
    RNG.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8),
    np.array([3, 1, 4, 1, 5, 9], np.int32),
)
FOG = RNG.integers(0, 256, (5 * COUNT, 32, 32, 3), dtype=np.uint8)


def write(data_dir, **changes):
    folder = data_dir / "CIFAR-10-C"
    folder.mkdir()
    labels = np.tile(TEST.labels, 5).astype(np.int64)
    for name, array in ({"fog": FOG, "labels": labels} | changes).items():
        np.save(folder / f"{name}.npy", array)
    return cifar_c.find("cifar10", data_dir, TEST)


def test_a_severity_is_its_rows_and_is_read_when_it_is_used(tmp_path):
    published = write(tmp_path)
    for severity in cifar_c.SEVERITIES:
        images, labels = published("fog", severity)
        rows = range((severity - 1) * COUNT, severity * COUNT)
        np.testing.assert_array_equal(images, FOG[rows])
        np.testing.assert_array_equal(labels, TEST.labels)
        assert isinstance(images.base, np.memmap)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"labels": np.tile(TEST.labels[::-1], 5)},
            "another data set or another order",
        ),
        ({"labels": TEST.labels}, r"labels.npy has shape \[6\]; expected \[30\]"),
        ({"fog": FOG[:-1]}, r"fog.npy has shape \[29, 32, 32, 3\]; expected \[30,"),
        ({"fog": FOG.astype(np.float32)}, "float32; expected uint8"),
    ],
)
def test_what_is_not_the_benchmark_is_refused(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        write(tmp_path, **changes)("fog", 1)


def test_what_is_not_there_is_named(tmp_path):
    assert cifar_c.find("cifar10", tmp_path, TEST) is None
    published = write(tmp_path)
    assert cifar_c.find("cifar100", tmp_path, TEST) is None
    with pytest.raises(
        ValueError, match=r"snow.npy does not exist.*\['fog', 'labels'\]"
    ):
        published("snow", 1)
    with pytest.raises(ValueError, match="severity=6: expected 1, 2"):
        published("fog", 6)
    path = tmp_path / "CIFAR-10-C/fog.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="fog.npy cannot be read"):
        published("fog", 1)


def prepare(data_dir, name, split):
    """Has TFDS itself prepare a configuration of its `cifar10_corrupted`."""
    import tensorflow_datasets as tfds

    def generators(self, _):
        def examples():
            for index, (image, label) in enumerate(zip(*split, strict=True)):
                png = io.BytesIO()
                Image.fromarray(image).save(png, "PNG")
                png.seek(0)
                yield index, {"image": png, "label": int(label)}

        return {"test": examples()}

    builder = tfds.builder(
        f"cifar10_corrupted/{name}", data_dir=data_dir, file_format="array_record"
    )
    builder._split_generators = types.MethodType(generators, builder)
    builder.download_and_prepare()


def test_tfds_has_other_names_and_another_order(tmp_path):
    corrupted = Split(FOG[:COUNT], TEST.labels)
    prepare(tmp_path, "frosted_glass_blur_2", corrupted)
    published = cifar_c.find("cifar10", tmp_path, TEST)
    assert not published.paired
    found = published("glass_blur", 2)
    assert found.images.dtype == np.uint8 and found.labels.dtype == np.int32
    sums = [dict(zip(x.images.sum(axis=(1, 2, 3)), x.labels, strict=True))
            for x in (found, corrupted)]  # fmt: skip
    assert sums[0] == sums[1] and len(sums[0]) == COUNT
    with pytest.raises(ValueError, match="elastic_1 is not prepared"):
        published("elastic_transform", 1)
    other = Split(TEST.images, TEST.labels % 4)
    with pytest.raises(ValueError, match="labels of the clean test"):
        cifar_c.find("cifar10", tmp_path, other)("glass_blur", 2)
