"""Several devices, in one process or more: seeds are sharded first, then batches.

    mesh.connect("10.0.0.1:1234", processes=2, process=0)     # several processes only
    layout = mesh.build(seed_count=5, batch_size=128)         # axes "seed" and "data"

XLA divides the work. Results equal those of one device up to rounding; batch norm uses
the statistics of the whole batch of a seed.
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
    """The placement of arrays on devices.

    Attributes:
      mesh: devices with the axes "seed" and "data"; None for one device.
    """

    mesh: Mesh | None = None

    @property
    def by_seed(self) -> NamedSharding | None:
        """The sharding of arrays with a leading axis S, such as states and keys."""
        return self._sharding("seed")

    @property
    def everywhere(self) -> NamedSharding | None:
        """The sharding of arrays that every device holds completely."""
        return self._sharding()

    @property
    def text(self) -> str:
        """A description: "4 x cpu (seed 2, data 2)"."""
        kind = jax.devices()[0].device_kind
        if self.mesh is None:
            return kind
        shape = ", ".join(f"{name} {size}" for name, size in self.mesh.shape.items())
        return f"{self.mesh.size} x {kind} ({shape})"

    def _sharding(self, *axes: str) -> NamedSharding | None:
        return self.mesh and NamedSharding(self.mesh, PartitionSpec(*axes))

    def whole_batches(self, size: int) -> int:
        """The smallest multiple of the data axis that is at least `size`."""
        parts = self.mesh.shape["data"] if self.mesh else 1
        return -(-size // parts) * parts

    def spread(self, batch: Any) -> Any:
        """Divides a batch of one seed among devices, inside of a program.

        A batch whose size is not a multiple of the data axis is not divided; the last
        batch of an epoch may be such a batch.
        """
        size = len(jax.tree.leaves(batch)[0])
        place = self._sharding("data")
        if place is None or self.whole_batches(size) != size:
            return batch
        return jax.lax.with_sharding_constraint(batch, place)

    def put(self, arrays: Any) -> Any:
        """Copies host arrays to every device; every process has to hold them."""
        place = self.everywhere
        if place is None:
            return jax.device_put(arrays)
        return jax.tree.map(
            lambda x: jax.make_array_from_callback(x.shape, place, x.__getitem__),
            arrays,
        )

    def over_seeds(self, function: Callable, in_axes: int | Sequence = 0) -> Callable:
        """`seeds.over_seeds`, with the seed axis divided over the mesh."""
        axis = "seed" if self.mesh else None
        return seeds.over_seeds(function, in_axes, mesh_axis=axis)

    def jit(self, function: Callable, outputs: Any, **options: Any) -> Callable:
        """`compilation.jit`; `outputs` has a sharding for each output, or None."""
        if self.mesh:
            options["out_shardings"] = outputs
        return compilation.jit(function, **options)


ONE_DEVICE = DeviceLayout()


def build(
    seed_count: int, batch_size: int, seed: int = 0, data: int = 0
) -> DeviceLayout:
    """The layout of the devices for a run.

    Args:
      seed_count: the number of seeds, S.
      batch_size: the batch size of one seed in training.
      seed: the number of devices along the seed axis, a divisor of S; 0: as many as
        possible.
      data: the number of devices along the data axis, a divisor of `batch_size`; 0: as
        many as possible with the other devices.

    Returns:
      A layout of `seed * data` devices.

    Raises:
      ValueError: if `seed` does not divide S or `data` does not divide the batch size,
        if there are too few devices, or if a process would have no device.
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
                f"{_largest_divisor(count, max(parts, 1))}, or 0 for an automatic "
                "choice."
            )
    if seed * data > len(devices):
        raise ValueError(
            f"mesh.seed={seed} times mesh.data={data} is more than the {len(devices)} "
            "available devices: use smaller values, or 0 for an automatic choice."
        )
    if seed * data == len(devices) == 1:
        return ONE_DEVICE
    used = np.array(devices[: seed * data]).reshape(seed, data)
    if len({device.process_index for device in used.flat}) < jax.process_count():
        raise ValueError(
            f"{seed * data} of {len(devices)} devices can be used with {seed_count} "
            f"seeds and batches of {batch_size}, so that a process would have none: "
            "start fewer processes, or change the number of seeds or the batch size."
        )
    return DeviceLayout(Mesh(used, AXES, axis_types=(AxisType.Auto, AxisType.Auto)))


def _largest_divisor(number: int, limit: int) -> int:
    limit = max(min(limit, number), 1)
    return max(d for d in range(1, limit + 1) if number % d == 0)


def connect(
    coordinator: str | None, processes: int | None, process: int | None
) -> None:
    """Connects this process to the others; it has to be called before any computation.

    Arguments that are None are taken from SLURM, Kubernetes or Open MPI.

    Args:
      coordinator: `host:port` of process 0.
      processes: the number of processes.
      process: the number of this process, from 0.
    """
    handlers = {number: signal.getsignal(number) for number in interruption.HANDLED}
    jax.distributed.initialize(coordinator, processes, process)
    for number, handler in handlers.items():
        signal.signal(number, handler)  # JAX's preemption service has taken SIGTERM


def disconnect() -> None:
    """Disconnects from the other processes, if any, before this process ends.

    JAX does so at the exit of Python, which an interrupted command skips.
    """
    jax.distributed.shutdown()


def is_writer() -> bool:
    """Whether this process writes files and prints, which only process 0 does."""
    return jax.process_index() == 0


def gather(*values: int) -> np.ndarray:
    """The arguments of all processes, `[processes, n]`; each process has to call it."""
    mine = np.array([values], np.int32)
    if jax.process_count() == 1:
        return mine
    return multihost_utils.process_allgather(mine[0])


def to_host(tree: Any) -> Any:
    """Converts arrays that are sharded over processes to complete NumPy arrays."""
    return jax.tree.map(
        lambda x: np.asarray(
            x
            if getattr(x, "is_fully_addressable", True) or x.is_fully_replicated
            else multihost_utils.process_allgather(x, tiled=True)
        ),
        tree,
    )
