"""What is linear in a net, bounded exactly but for rounding, from its columns.

    found = linear_parts(program, weights, norm)
    found.reach                    # of the unit ball, for each end of the first part

A linear function moves by eps times the dual norm of its row over a ball of radius eps;
the rows' norms are added up from columns, which are what single entries of 1 give.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from symjax import compilation
from symjax.attacks.threat import Norm
from symjax.metrics.interval import TINY, Interval, roundings, widened
from symjax.metrics.propagation import Program, push
from symjax.metrics.steps import Value

NUMBERS = 1 << 18  # of a matrix's columns at a time; more leave a CPU's caches


class Linear(NamedTuple):
    """What is linear in a net, the same for all images.

    Attributes:
      reach: how far the unit ball moves each end of the program's first part.
      offset: the logits `[1, K]` where the sources of its last part are 0.
      columns: what each of the S entries of each source adds to them, `[S, K]`.
      margin_reach: how far the unit ball moves `f_c - f_j` by the image's own columns,
        `[K, K]`; 0 where the image is no source of the last part.
    """

    reach: list[Array]
    offset: Interval
    columns: list[Interval]
    margin_reach: Array


def linear_parts(program: Program, weights: Sequence[Any], norm: Norm) -> Linear:
    """Computes it, some columns at a time."""
    call, size = (program, weights), _size(program.image)
    join = jnp.maximum if norm == "l1" else jnp.add
    reach: list[Array] = []
    for places in _places(size, program.first.ends):
        part = jitted(_powers_of_columns, (0, 2))(*call, norm, places)
        reach = list(map(join, reach, part)) if reach else part
    offset = jitted(_offset, (0,))(*call)
    columns, classes = [], offset.lower.size
    margin_reach = jnp.zeros((classes, classes))
    for index, source in enumerate(program.last.sources):
        ends = [
            jitted(_columns, (0, 2, 3))(*call, "last", index, places)[0]
            for places in _places(_size(source), program.last.ends)
        ]
        joined = [jnp.concatenate(end)[:, 0] for end in zip(*ends, strict=True)]
        columns.append(Interval(*(end[: _size(source)] for end in joined)))
        if source is program.image:
            rows = [margin_columns(columns[-1], label).size for label in range(classes)]
            margin_reach = jnp.stack(
                [_rooted(_powers(x, norm), size, norm) for x in rows]
            )
    reach = [_rooted(total, size, norm) for total in reach]
    return Linear(reach, offset, columns, margin_reach)


def _powers(rows: Array, norm: Norm) -> Array:
    """What the dual norm adds up along axis 0; in l1, its maximum."""
    if norm == "l1":
        return jnp.max(rows, axis=0)
    return jnp.sum(rows if norm == "linf" else jnp.square(rows) + TINY, axis=0)


def _rooted(total: Array, terms: int, norm: Norm) -> Array:
    """The dual norm from such a sum, rounded up."""
    length = jnp.sqrt(total) if norm == "l2" else total
    return length * (1 + roundings(terms))


def _size(value: Value) -> int:
    return math.prod(value.shape)


def _places(size: int, ends: Sequence[Value]) -> Iterator[np.ndarray]:
    """The places of a source's entries, some at a time; the last ones lie beyond it."""
    widest = max([size, *map(_size, ends)])
    chunk = max(1, min(size, NUMBERS // widest))
    for first in range(0, size if ends else 0, chunk):
        yield np.arange(first, first + chunk)


def _powers_of_columns(program, weights, norm, places) -> list[Array]:
    moved = _columns(program, weights, "first", 0, places)
    return [_powers(x.size, norm) for x in moved]


def _columns(program, weights, part: str, index: int, places) -> list[Interval]:
    """What entries of a source add to the ends of a linear part, `[chunk, ...]`.

    Each is set to 1 and the rest of the sources to 0; one beyond the source adds 0.
    """
    sources, steps, ends = getattr(program, part)
    known, source = program.known(weights), sources[index]
    zero = {x: Interval(z, z) for x in sources for z in [jnp.zeros(x.shape)]}
    still = push(steps, known | zero)

    def one(place):
        unit = jnp.where(jnp.arange(_size(source)) == place, 1.0, 0.0)
        unit = unit.reshape(source.shape)
        moved = push(steps, known | zero | {source: Interval(unit, unit)})
        return [_difference(moved[end], still[end]) for end in ends]

    return jax.vmap(one)(places)


def _difference(a: Interval, b: Interval) -> Interval:
    """`a - b`; 0 where both are the same infinity, as in a pool's padding."""
    low, high = widened(a.lower - b.upper, a.upper - b.lower)
    padded = jnp.isinf(a.lower) & (a.lower == b.upper) & (a.upper == b.lower)
    return Interval(jnp.where(padded, 0.0, low), jnp.where(padded, 0.0, high))


def _offset(program, weights) -> Interval:
    sources, steps, _ = program.last
    zero = {x: Interval(z, z) for x in sources for z in [jnp.zeros(x.shape)]}
    logits = push(steps, program.known(weights) | zero)[program.logits]
    return logits if isinstance(logits, Interval) else Interval(logits, logits)


def margin_columns(columns: Interval, label: int | Array) -> Interval:
    """The columns of `f_c - f_j`, for one c: `[S, K]`."""
    low, high = (end[:, label][:, None] for end in columns)
    return widened(low - columns.upper, high - columns.lower)


@functools.cache
def jitted(function: Callable[..., Any], static: tuple[int, ...]):
    """The function compiled, once; these arguments are part of the program."""
    return compilation.jit(function, static_argnums=static)
