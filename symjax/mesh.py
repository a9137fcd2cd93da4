"""Several devices, in one process or many: the seeds are spread first, then the batch.

    mesh.connect("10.0.0.1:1234", processes=2, process=0)     # several processes only
    layout = mesh.build(seeds=5, batch_size=128)              # axes "seed" and "data"

XLA divides the work: what is computed is what one device computes, up to rounding, and
batch norm sees the whole batch of its seed.
"""

import dataclasses
import signal
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from symjax import compilation, interruption, seeds

AXES = ("seed", "data")


@dataclasses.dataclass(frozen=True)
class DeviceLayout:
    """Where the arrays of a run live.

    Attributes:
      mesh: devices by seed and data; None for one device.
    """

    mesh: Mesh | None = None

    @property
    def by_seed(self) -> NamedSharding | None:
        """Of arrays with a leading axis S, as states and keys are."""
        return self._sharding("seed")

    @property
    def by_image(self) -> NamedSharding | None:
        """Of the images of one seed's batch, `[B, ...]`."""
        return self._sharding("data")

    @property
    def everywhere(self) -> NamedSharding | None:
        """Of what every device holds whole."""
        return self._sharding()

    @property
    def text(self) -> str:
        """For people: "4 x cpu (seed 2, data 2)"."""
        kind = jax.devices()[0].device_kind
        if self.mesh is None:
            return kind
        shape = ", ".join(f"{name} {size}" for name, size in self.mesh.shape.items())
        return f"{self.mesh.size} x {kind} ({shape})"

    def _sharding(self, *axes: str) -> NamedSharding | None:
        return self.mesh and NamedSharding(self.mesh, PartitionSpec(*axes))

    def whole_batches(self, size: int) -> int:
        """The least number of images, `size` or more, that the data axis divides."""
        parts = self.mesh.shape["data"] if self.mesh else 1
        return -(-size // parts) * parts

    def spread(self, batch: Any) -> Any:
        """Divides a batch of one seed among its devices, inside a program.

        A batch that the number of devices does not divide, as the last one of an epoch
        may be, is left whole.
        """
        size = len(jax.tree.leaves(batch)[0])
        if self.by_image is None or self.whole_batches(size) != size:
            return batch
        return jax.lax.with_sharding_constraint(batch, self.by_image)

    def put(self, arrays: Any) -> Any:
        """Brings host arrays to every device; each process has them whole."""
        place = self.everywhere
        if place is None:
            return jax.device_put(arrays)
        return jax.tree.map(
            lambda x: jax.make_array_from_callback(x.shape, place, x.__getitem__),
            arrays,
        )

    def over_seeds(self, function: Callable, in_axes: int | Sequence = 0) -> Callable:
        """`seeds.over_seeds`, with the seed axis on the mesh."""
        axis = "seed" if self.mesh else None
        return seeds.over_seeds(function, in_axes, mesh_axis=axis)

    def jit(self, function: Callable, outputs: Any, **options: Any) -> Callable:
        """`compilation.jit`; `outputs` holds a sharding for each output, or None."""
        if self.mesh:
            options["out_shardings"] = outputs
        return compilation.jit(function, **options)


ONE_DEVICE = DeviceLayout()


def build(
    seed_count: int, batch_size: int, seed: int = 0, data: int = 0
) -> DeviceLayout:
    """Lays the devices out.

    Args:
      seed_count: S.
      batch_size: of one seed, in training.
      seed: devices along the seed axis, a divisor of S; 0: as many as there are.
      data: devices along the data axis, a divisor of `batch_size`; 0: as many as are
        left.

    Returns:
      A layout of `seed * data` devices.

    Raises:
      ValueError: if the axes do not divide what they hold, or there are too few
        devices, or a process is left without one.
    """
    devices = jax.devices()
    seed = seed or _largest_divisor(seed_count, len(devices))
    data = data or _largest_divisor(batch_size, len(devices) // seed)
    for name, parts, what, count in (
        ("seed", seed, "seeds", seed_count),
        ("data", data, "images of a batch", batch_size),
    ):
        if parts < 1 or count % parts:
            raise ValueError(
                f"mesh.{name}={parts} does not divide the {count} {what}: use "
                f"{_largest_divisor(count, max(parts, 1))}, or 0 to have it chosen."
            )
    if seed * data > len(devices):
        raise ValueError(
            f"mesh.seed={seed} times mesh.data={data} is more than the {len(devices)} "
            "devices that there are: choose less, or 0 to have it chosen."
        )
    if seed * data == len(devices) == 1:
        return ONE_DEVICE
    used = np.array(devices[: seed * data]).reshape(seed, data)
    if len({device.process_index for device in used.flat}) < jax.process_count():
        raise ValueError(
            f"{seed * data} of {len(devices)} devices can be used with {seed_count} "
            f"seeds and batches of {batch_size}, which leaves a process without one: "
            "start fewer processes, or choose other numbers."
        )
    return DeviceLayout(Mesh(used, AXES, axis_types=(AxisType.Auto, AxisType.Auto)))


def _largest_divisor(number: int, limit: int) -> int:
    limit = max(min(limit, number), 1)
    return max(d for d in range(1, limit + 1) if number % d == 0)


def connect(
    coordinator: str | None, processes: int | None, process: int | None
) -> None:
    """Makes this process one of several; before anything is computed.

    Args:
      coordinator: `host:port` of process 0.
      processes: how many there are.
      process: which this is, from 0. What is None is asked of SLURM, Kubernetes or
        Open MPI.
    """
    handlers = {number: signal.getsignal(number) for number in interruption.HANDLED}
    jax.distributed.initialize(coordinator, processes, process)
    for number, handler in handlers.items():
        signal.signal(number, handler)  # JAX's preemption service has taken SIGTERM


def disconnect() -> None:
    """Waits for the other processes, if any, before this one ends.

    JAX does it at the exit of Python, which an interrupted command does not reach.
    """
    jax.distributed.shutdown()


def is_writer() -> bool:
    """Whether this process is the one that writes rows and speaks: process 0."""
    return jax.process_index() == 0


def gather(*values: int) -> np.ndarray:
    """What each process calls it with, `[processes, n]`; all of them have to call."""
    mine = np.array([values], np.int32)
    if jax.process_count() == 1:
        return mine
    return multihost_utils.process_allgather(mine[0])


def to_host(tree: Any) -> Any:
    """Arrays of all processes as NumPy arrays, whole."""
    return jax.tree.map(
        lambda x: np.asarray(
            x
            if getattr(x, "is_fully_addressable", True) or x.is_fully_replicated
            else multihost_utils.process_allgather(x, tiled=True)
        ),
        tree,
    )
