"""Images, random numbers and statistics for comparing corruptions with published ones.

    draws = drawn("fog", images)      # the draws for `Corruption.effect`

All random numbers are those of NumPy's legacy generator, which never change between
versions of NumPy.
"""

import zlib

import numpy as np

SIZE = 32
DETERMINISTIC = (
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
)
RANDOM = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "glass_blur",
    "motion_blur",
    "snow",
    "frost",
    "fog",
    "elastic_transform",
    "speckle_noise",
    "spatter",
)
SEVERITIES = (1, 2, 3, 4, 5)
BANDS = (0, 1, 3, 6, 10, 16, 23)  # cycles an image


def synthetic_images(count: int, seed: int = 0) -> np.ndarray:
    """Noise with a natural spectrum; some images are gray, some have saturated shapes.

    Args:
      count: B.
      seed: of NumPy's legacy generator.

    Returns:
      `[B, 32, 32, 3]`, uint8.
    """
    random = np.random.RandomState(seed)
    frequencies = np.fft.fftfreq(SIZE)
    radius = np.hypot(frequencies[:, None], frequencies)
    radius[0, 0] = np.inf
    spectrum = np.fft.fft2(random.normal(size=(count, 3, SIZE, SIZE))) / radius
    noise = np.fft.ifft2(spectrum).real
    shared = noise.mean(axis=1, keepdims=True)
    noise = 0.3 * noise + 0.7 * np.sqrt(3) * shared
    noise = noise / noise.std(axis=(1, 2, 3), keepdims=True)
    images = (
        127 + 55 * noise.transpose(0, 2, 3, 1) + random.normal(0, 20, (count, 1, 1, 3))
    )
    rows, columns = np.indices((SIZE, SIZE))
    for image in images[::2]:
        center, reach = random.uniform(8, 24, 2), random.uniform(4, 9)
        disc = np.hypot(rows - center[0], columns - center[1]) < reach
        image[disc] = random.choice([0.0, 255.0], 3)
        top, left, height, width = random.randint(0, 16, 4)
        image[top : top + height, left : left + width] = random.choice([0.0, 255.0])
    images[1::4] = images[1::4].mean(axis=-1, keepdims=True)
    return images.clip(0, 255).astype(np.uint8)


def digests(images: np.ndarray) -> np.ndarray:
    """CRC-32 and sum of each image's values: `[B, 2]`, uint32."""
    sums = images.sum(axis=(1, 2, 3), dtype=np.uint32)
    checks = [zlib.crc32(np.ascontiguousarray(image).tobytes()) for image in images]
    return np.stack([np.array(checks, np.uint32), sums], axis=1)


def drawn(name: str, images: np.ndarray, seed: int = 0):
    """The draws for `Corruption.effect`, from a seeded legacy generator."""
    random = np.random.RandomState(seed)
    count, shape = len(images), images.shape[:3]
    if name in ("gaussian_noise", "speckle_noise"):
        return random.normal(size=images.shape)
    if name == "shot_noise":
        return random.randint(0, 2**32, images.shape, np.uint32)
    if name == "impulse_noise":
        return tuple(random.uniform(size=(2, *images.shape)))
    if name == "glass_blur":
        return random.randint(-1, 1, (count, 2, *shape[1:], 2))
    if name == "motion_blur":
        return random.uniform(-45, 45, count)
    if name == "snow":
        return random.normal(size=shape), random.uniform(-135, -45, count)
    if name == "frost":
        return random.randint(0, 5, count), random.uniform(size=(count, 2))
    if name == "fog":
        return random.uniform(-1, 1, shape)
    if name == "elastic_transform":
        jumps = random.uniform(-1, 1, (count, 3, 2))
        return jumps, random.uniform(-1, 1, (count, 2, *shape[1:]))
    if name == "spatter":
        return random.normal(size=shape)
    return None


def statistics(outputs: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Mean and variance of each output, and the power of the change by frequency.

    Args:
      outputs: `[..., 32, 32, 3]`, uint8.
      images: of a shape that broadcasts.

    Returns:
      `[..., 2 + bands]`; gray levels, and their squares.
    """
    outputs = outputs.astype(float)
    change = np.moveaxis(outputs - images, -1, -3)
    power = (np.abs(np.fft.fft2(change, norm="forward")) ** 2).sum(-3)
    frequencies = np.fft.fftfreq(SIZE, 1 / SIZE)
    band = np.digitize(np.hypot(frequencies[:, None], frequencies), BANDS) - 1
    members = band.reshape(-1, 1) == np.arange(len(BANDS) - 1)
    bands = power.reshape(*power.shape[:-2], -1) @ members
    pixels = (-3, -2, -1)
    moments = np.stack([outputs.mean(pixels), outputs.var(pixels)], axis=-1)
    return np.concatenate([moments, bands], axis=-1)


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over draws and images `[draws, B, F]`: the mean and its standard error, `[F]`."""
    draws, count, _ = values.shape
    spread = values.var(axis=0, ddof=1).sum(axis=0) / draws / count**2
    return values.mean(axis=(0, 1)), np.sqrt(spread)
