"""Rotation-equivariant convolutions (paper, equations 7 and 8; Cohen & Welling 2016).

    x = nn.LiftingConv(16, group=groups.C(8))(images)       # [B, H, W, 8, 16]
    x = nn.GroupConv(32, group=groups.C(8))(x)              # [B, H, W, 8, 32]

The parameters are one kernel, which is rotated by every group element (see
`symjax.nn.kernels`); the layer is a single plain convolution with all rotated kernels.
Batch norm on `[B, H, W, G, C]`, that of symjax or Flax, shares its statistics over the
group.
"""

import functools
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from symjax.groups import C4, Cosets, Group, as_group
from symjax.nn import e2cnn, exactness, kernels, settings
from symjax.nn.convolution import Conv, Params
from symjax.nn.exactness import Pair, pair
from symjax.nn.kernels import Basis


class _RotationConv(Conv):
    """The common base of the two layers: group, kernels, and the exactness check."""

    group: Group | str = C4
    basis: Basis | Literal[""] = ""
    outputs: Cosets | None = None
    exact: bool = True
    as_e2cnn: bool = False

    def __post_init__(self):
        self.group = as_group(self.group)
        super().__post_init__()

    @property
    def _group(self) -> Group:
        return as_group(self.group)

    @property
    def _from(self) -> Cosets:
        raise TypeError(f"{type(self).__name__} does not define its inputs.")

    @property
    def _to(self) -> Cosets:
        return self._on_group(self.outputs or self._group.regular)

    @property
    def _kernel(self) -> tuple[Basis, Pair, Cosets, Cosets]:
        """The arguments for functions of `symjax.nn.kernels`."""
        basis = self.basis or kernels.default_basis(self._group)
        return basis, pair(self.kernel_size), self._from, self._to

    @property
    def _factor(self) -> float:
        """The factor by which the basis elements are divided."""
        return e2cnn.factor(*self._steerable) if self.as_e2cnn else 1.0

    @property
    def _steerable(self) -> tuple[Pair, Cosets, Cosets]:
        """The arguments for functions of `symjax.nn.e2cnn`."""
        basis, size, inputs, outputs = self._kernel
        e2cnn.check(basis, outputs)
        return size, inputs, outputs

    @nn.nowrap
    def _initial(self, key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        channels, features = shape[-2:]
        return e2cnn.initial(key, *self._steerable, channels, features, dtype)

    def _on_group(self, cosets: Cosets) -> Cosets:
        if not isinstance(cosets, Cosets):
            raise ValueError(
                f"{type(self).__name__}: inputs or outputs={cosets!r}: expected cosets "
                f"of {self.group}, such as group.regular or group.trivial."
            )
        if cosets.group != self.group:
            raise ValueError(
                f"{type(self).__name__}: inputs or outputs over {cosets}: expected "
                f"cosets of group={self.group}."
            )
        return cosets

    @nn.nowrap
    def _apply_to(self, flat: Array) -> Array:
        """Convolves `[B, H, W, A_in * C_in]` to `[B, H', W', A, features]`."""
        name, (basis, size, inputs, outputs) = type(self).__name__, self._kernel
        sizes, strides = pair(flat.shape[1:3]), pair(self.strides)
        if reason := kernels.refusal(basis, self._group, size):
            raise ValueError(f"{name}: {reason}; use {self._way_out(sizes)}.")
        if self.exact:
            padding = self._pixels_of_padding(sizes)
            takes = functools.partial(_has_kernels, basis, self._group)
            exactness.check(name, self._group, sizes, size, strides, padding, takes)
        axes = kernels.shape(basis, size, inputs, outputs)
        channels = flat.shape[-1] // len(inputs)
        init = self._initial if self.as_e2cnn else None
        params = self._parameters((*axes, channels, self.features), init)
        result = self._convolve(flat, params)
        if outputs.is_trivial and not outputs.is_regular:  # for C1 both are true
            return result
        return result.reshape(*result.shape[:-1], len(outputs), self.features)

    @nn.nowrap
    def _way_out(self, sizes: Pair) -> str:
        """Settings to use instead of a kernel that the basis does not have."""
        group, basis = self._group, self._kernel[0]
        size, strides = pair(self.kernel_size), pair(self.strides)
        if basis == "full" and not group.is_on_grid:
            choices = {
                "basis 'steerable' or 'interpolated' with kernel": (group, "steerable"),
                f"its subgroup {group.grid.group} with kernel": (group.grid.group, ""),
            }
        else:
            side = max(size) if basis == "full" else max(size) | 1
            size, choices = (side, side), {"": (group, basis)}
        texts = {
            what: exactness.setting(
                of, sizes, size, strides, functools.partial(_has_kernels, kind, of)
            )
            or "(1, 1), strides (1, 1) and padding=0"
            for what, (of, kind) in choices.items()
        }
        return ", or ".join(f"{what} {text}".strip() for what, text in texts.items())

    @nn.nowrap
    def expand(self, params: Params) -> Params:
        """The plain convolution that this layer applies to `[B, H, W, A_in * C_in]`.

        Args:
          params: the layer's kernel, and its bias `[C]` if there is one.

        Returns:
          The parameters of a `flax.linen.Conv` with `A * C` features: kernel
          `[k, k, A_in * C_in, A * C]` and bias `[A * C]`. The group axes vary slowest.
        """
        kernel = kernels.expand(params["kernel"] / self._factor, *self._kernel)
        height, width, axis, channels = kernel.shape[:4]
        plain = {"kernel": kernel.reshape(height, width, axis * channels, -1)}
        if "bias" in params:  # the same for each element
            plain["bias"] = jnp.tile(params["bias"], len(self._to))
        return plain

    @nn.nowrap
    def fit(
        self,
        plain: Params,
        tolerance: float = 1e-4,
        dtype: DTypeLike = jnp.float32,
    ) -> Params:
        """The parameters for which this layer equals a given plain convolution.

        This is the inverse of `expand`. It imports kernels that another library has
        expanded.

        Args:
          plain: kernel `[k, k, A_in * C_in, A * C]`, and bias `[A * C]` if any.
          tolerance: the largest difference, as a fraction of the largest weight.
          dtype: dtype of the parameters; float64 needs `jax_enable_x64`.

        Returns:
          The parameters of this layer.

        Raises:
          ValueError: if no parameters of this layer are within the tolerance.
        """
        basis, size, inputs, outputs = self._kernel
        given = np.asarray(plain["kernel"], np.float64)
        axes = *size, len(inputs), -1, len(outputs), self.features
        kernel = kernels.fit(given.reshape(axes), *self._kernel) * self._factor
        params: dict[str, Any] = {"kernel": kernel.astype(dtype)}
        if "bias" in plain:
            bias = np.asarray(plain["bias"], np.float64)
            params["bias"] = bias.reshape(len(outputs), -1).mean(0).astype(dtype)
        for name, values in self.expand(params).items():
            left = np.max(np.abs(np.asarray(values) - np.asarray(plain[name])))
            if not left <= tolerance * np.max(np.abs(given)):
                raise ValueError(
                    f"the {name} is no {name} of {self.group} in the {basis} basis: "
                    f"the nearest one differs by {left:.1e}. Its channels must be "
                    "ordered [A, C], with the group axis varying slowest."
                )
        return params


def _has_kernels(basis: str, group: Group, size: Pair) -> bool:
    return not kernels.refusal(basis or kernels.default_basis(group), group, size)


class LiftingConv(_RotationConv):
    """Lifts an image to a feature map with one orientation channel per group element.

    Channel g is the correlation of the image with the kernel rotated by g:
    `y[x, g, d] = sum_{u, c} image[x + u, c] kernel[g^-1 u, c, d]`.

    Attributes: those of `Conv`, and

      group: the finite group, or its name such as "C8" or "D4"; C4 by default.
      basis: basis of the kernels, one of `symjax.nn.kernels.BASES`; if empty, "full"
        for groups that map pixels onto pixels, and "steerable" for others.
      outputs: cosets that index the group axis A of the output; None: the group itself
        (the regular representation).
      exact: raise an error where the layer would not commute with the group's elements
        on the grid (see `symjax.nn.exactness`); False accepts the error.
      as_e2cnn: divide the basis elements by `symjax.nn.e2cnn.factor` and initialize the
        coefficients as e2cnn does, instead of by `kernel_init`. The layer has the same
        kernels; optimizers whose steps do not depend on the size of a gradient change
        them about as fast as in e2cnn. Only for the steerable basis and regular
        outputs.

    Parameters: kernel `[k, k, C_in, features]` in the full basis, `[J, C_in, features]`
    in the others, with J coefficients instead of k * k pixels; bias `[features]`.

    Raises:
      ExactnessError: when the layer is traced, if it is not exact; the message has the
        sizes, the rule and the remedy.
      ValueError: if the basis has no kernels of this size for the group.

    References:
      Cohen & Welling, Group Equivariant Convolutional Networks, ICML 2016, eq. 10.
      Weiler & Cesa, General E(2)-Equivariant Steerable CNNs, NeurIPS 2019.
    """

    @property
    def _from(self) -> Cosets:
        return self._group.trivial

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps `[B, H, W, C_in]` to `[B, H', W', A, features]`; B may be 0."""
        return self._apply_to(settings.maps("LiftingConv", images, 4))


class GroupConv(_RotationConv):
    """Convolves a feature map on a group with a kernel on pixels and group elements.

    `y[x, g, d] = sum_{u, h, c} f[x + u, h, c] kernel[g^-1 u, g^-1 h, c, d]`

    Attributes: those of `LiftingConv`, and

      inputs: cosets that index the group axis of the input; None: the group itself.

    With `outputs=group.trivial` the output has no group axis, `[B, H, W, features]`.

    Parameters: kernel `[k, k, A_in, C_in, features]` in the full basis, and
    `[J, A_in, C_in, features]` in the others; if the outputs are not regular,
    `[n, C_in, features]`, where n is the number of independent kernels; bias
    `[features]`.

    Raises:
      ExactnessError: as in `LiftingConv`.
      ValueError: as in `LiftingConv`, or if the input is not a feature map on `group`.

    References: those of `LiftingConv`, and equation 11 of Cohen & Welling.
    """

    inputs: Cosets | None = None

    @property
    def _from(self) -> Cosets:
        return self._on_group(self.inputs or self._group.regular)

    @nn.compact
    def __call__(self, field: Array) -> Array:
        """Maps `[B, H, W, A_in, C_in]` to `[B, H', W', A, features]`; B may be 0."""
        size = len(self._from)
        if jnp.ndim(field) != 5 or field.shape[3] != size:
            raise ValueError(
                f"GroupConv: expected a feature map on {self.group}, [B, H, W, {size}, "
                f"C], got {jnp.shape(field)}; lift images with LiftingConv first."
            )
        field = settings.maps("GroupConv", field, 5)
        return self._apply_to(field.reshape(*field.shape[:3], size * field.shape[4]))
