"""Flax layers with rotation, reflection and scale symmetry, usable on their own."""

from symjax.nn.batch_norm import BatchNorm
from symjax.nn.blurring import antialiased_max_pool, blur_pool
from symjax.nn.convolution import Conv, convolve
from symjax.nn.exactness import ExactnessError
from symjax.nn.fusion import WeightedSum, concatenate
from symjax.nn.norm import InstanceNorm, LayerNorm
from symjax.nn.pooling import GroupPool, avg_pool, max_first, max_pool
from symjax.nn.rotation import GroupConv, LiftingConv
from symjax.nn.scale import ScaleConv, at_scales, resize

__all__ = [
    "BatchNorm",
    "Conv",
    "ExactnessError",
    "GroupConv",
    "GroupPool",
    "InstanceNorm",
    "LayerNorm",
    "LiftingConv",
    "ScaleConv",
    "WeightedSum",
    "antialiased_max_pool",
    "at_scales",
    "avg_pool",
    "blur_pool",
    "concatenate",
    "convolve",
    "max_first",
    "max_pool",
    "resize",
]
