"""Rotation-equivariant convolutions (paper, equations 7 and 8; Cohen & Welling 2016).

    field = nn.LiftingConv(16, group=groups.C(8))(images)   # [B, H, W, 8, 16]
    field = nn.GroupConv(32, group=groups.C(8))(field)      # [B, H, W, 8, 32]

One canonical kernel is stored; the group moves it to every element (`symjax.nn.kernels`
says how), and the layer is a single plain convolution with the result. Batch norm on
`[B, H, W, G, C]`, ours or Flax's, shares its statistics over the group.
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
    """What the two layers share: the group, its kernels, and the guard of exactness."""

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
        raise TypeError(f"{type(self).__name__} does not say its inputs.")

    @property
    def _to(self) -> Cosets:
        return self._on_group(self.outputs or self._group.regular)

    @property
    def _kernel(self) -> tuple[Basis, Pair, Cosets, Cosets]:
        """What `symjax.nn.kernels` needs to know."""
        basis = self.basis or kernels.default_basis(self._group)
        return basis, pair(self.kernel_size), self._from, self._to

    @property
    def _factor(self) -> float:
        """By which the basis elements are divided."""
        return e2cnn.factor(*self._steerable) if self.as_e2cnn else 1.0

    @property
    def _steerable(self) -> tuple[Pair, Cosets, Cosets]:
        """What `symjax.nn.e2cnn` needs to know."""
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
                f"{type(self).__name__}: a group axis over {cosets!r}: expected cosets "
                f"of {self.group}, such as group.regular or group.trivial."
            )
        if cosets.group != self.group:
            raise ValueError(
                f"{type(self).__name__}: fields over {cosets} do not fit "
                f"group={self.group}."
            )
        return cosets

    @nn.nowrap
    def _apply_to(self, flat: Array) -> Array:
        """Convolves `[B, H, W, A_in * C_in]`."""
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
        if outputs.is_trivial and not outputs.is_regular:  # of C1 it is both
            return result
        return result.reshape(*result.shape[:-1], len(outputs), self.features)

    @nn.nowrap
    def _way_out(self, sizes: Pair) -> str:
        """What to take in place of a kernel that the basis does not have."""
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
        found = {
            what: exactness.setting(
                of, sizes, size, strides, functools.partial(_has_kernels, kind, of)
            )
            or "(1, 1), strides (1, 1) and padding=0"
            for what, (of, kind) in choices.items()
        }
        return ", or ".join(f"{what} {text}".strip() for what, text in found.items())

    @nn.nowrap
    def expand(self, params: Params) -> Params:
        """The plain convolution that this layer applies to `[B, H, W, A_in * C_in]`.

        Args:
          params: the layer's own kernel, and bias `[C]` if there is one.

        Returns:
          The parameters of a `flax.linen.Conv` of `A * C` features: kernel
          `[k, k, A_in * C_in, A * C]`, bias `[A * C]`, the group axes varying slowest.
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
        """The parameters with which this layer is a given plain convolution.

        It undoes `expand`, and takes over kernels that another library has expanded.

        Args:
          plain: kernel `[k, k, A_in * C_in, A * C]`, bias `[A * C]` if there is one.
          tolerance: what may be left over, as a share of the largest weight.
          dtype: of the parameters; float64 needs `jax_enable_x64`.

        Returns:
          The layer's own parameters.

        Raises:
          ValueError: if no parameters of this layer come that near.
        """
        basis, size, inputs, outputs = self._kernel
        given = np.asarray(plain["kernel"], np.float64)
        axes = *size, len(inputs), -1, len(outputs), self.features
        found = kernels.fit(given.reshape(axes), *self._kernel) * self._factor
        params: dict[str, Any] = {"kernel": found.astype(dtype)}
        if "bias" in plain:
            bias = np.asarray(plain["bias"], np.float64)
            params["bias"] = bias.reshape(len(outputs), -1).mean(0).astype(dtype)
        for name, values in self.expand(params).items():
            left = np.max(np.abs(np.asarray(values) - np.asarray(plain[name])))
            if not left <= tolerance * np.max(np.abs(given)):
                raise ValueError(
                    f"the {name} is no kernel of {self.group} in the {basis} basis: "
                    f"{left:.1e} of it is left over. Its channels must be ordered "
                    "[A, C], the group axis varying slowest."
                )
        return params


def _has_kernels(basis: str, group: Group, size: Pair) -> bool:
    return not kernels.refusal(basis or kernels.default_basis(group), group, size)


class LiftingConv(_RotationConv):
    """Lifts an image to a field on the group: element g sees it through g's turn.

    `y[x, g, d] = sum_{u, c} image[x + u, c] kernel[g^-1 u, c, d]`

    Attributes: those of `Conv`, and

      group: the finite group, or its name such as "C8" or "D4"; C4 by default.
      basis: of the kernels, one of `symjax.nn.kernels.BASES`; empty takes "full" where
        the group moves pixels onto pixels, "steerable" elsewhere.
      outputs: what the group axis A of the output runs over; None is the regular
        representation, the group itself.
      exact: raise where the layer would not commute with the group's elements on the
        grid (see `symjax.nn.exactness`); False accepts the error.
      as_e2cnn: divide the basis elements by `symjax.nn.e2cnn.factor` and initialize the
        coefficients as e2cnn does, in place of `kernel_init`. The layer has the same
        kernels; optimizers whose steps do not depend on the size of a gradient change
        them about as fast as in e2cnn. Of the steerable basis and regular outputs
        alone.

    Parameters: kernel `[k, k, C_in, features]` in the full basis, `[J, C_in, features]`
    in the others, J numbers in place of k * k; bias `[features]`.

    Raises:
      ExactnessError: at trace time, with the sizes, the rule and a way out.
      ValueError: if the basis has no such kernels.

    References:
      Cohen & Welling, Group Equivariant Convolutional Networks, ICML 2016, eq. 10.
      Weiler & Cesa, General E(2)-Equivariant Steerable CNNs, NeurIPS 2019.
    """

    @property
    def _from(self) -> Cosets:
        return self._group.trivial

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """`[B, H, W, C_in]` to `[B, H', W', A, features]`; B may be 0."""
        return self._apply_to(settings.maps("LiftingConv", images, 4))


class GroupConv(_RotationConv):
    """Convolves a field with a kernel on pixels and group elements.

    `y[x, g, d] = sum_{u, h, c} field[x + u, h, c] kernel[g^-1 u, g^-1 h, c, d]`

    Attributes: those of `LiftingConv`, and

      inputs: what the group axis of the input runs over; None is the group itself.

    Outputs over one coset, `group.trivial`, are images `[B, H, W, features]`.

    Parameters: kernel `[k, k, A_in, C_in, features]` in the full basis,
    `[J, A_in, C_in, features]` in the others, `[n, C_in, features]` where the outputs
    are not regular and leave n kernels free; bias `[features]`.

    Raises:
      ExactnessError: at trace time, with the sizes, the rule and a way out.
      ValueError: if the input is not a field on `group`, or the basis has no such
        kernels.

    References:
      Cohen & Welling, Group Equivariant Convolutional Networks, ICML 2016, eq. 11.
      Weiler & Cesa, General E(2)-Equivariant Steerable CNNs, NeurIPS 2019.
    """

    inputs: Cosets | None = None

    @property
    def _from(self) -> Cosets:
        return self._on_group(self.inputs or self._group.regular)

    @nn.compact
    def __call__(self, field: Array) -> Array:
        """`[B, H, W, A_in, C_in]` to `[B, H', W', A, features]`; B may be 0."""
        size = len(self._from)
        if jnp.ndim(field) != 5 or field.shape[3] != size:
            raise ValueError(
                f"GroupConv: expected a field [B, H, W, {size}, C] on {self.group}, "
                f"got {jnp.shape(field)}; lift images with LiftingConv first."
            )
        field = settings.maps("GroupConv", field, 5)
        return self._apply_to(field.reshape(*field.shape[:3], size * field.shape[4]))
