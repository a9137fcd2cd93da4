"""Lemmas 1 to 4 and Theorem 1: exact for invariant nets, and not for others."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from symjax.attacks import NORMS
from symjax.groups import C1, C2, C4
from symjax.metrics import orbit, symmetry
from symjax.metrics.jacobian import other_classes
from symjax.seeds import over_seeds
from tests import symmetric_models as small

ROUNDING = 2e-5  # float32, relative, of sums of some hundred products
IMAGES, LABELS = small.problem()
ROWS = np.arange(len(IMAGES))
RIVALS = np.asarray(other_classes(LABELS, small.CLASSES))


@jax.jit
def measured(net, images=IMAGES, labels=LABELS):
    """All that is measured of a net, in one program."""
    found = {
        "logits": symmetry.orbit_logits(net, images),
        "lemma 1": symmetry.jacobian_norms(net, images),
        "lemma 2": symmetry.orbit_margins(net, images, labels),
    }
    for of in ("logit", "margin", "jacobian"):
        found[of] = symmetry.gradient_equivariance(net, images, labels, of)
    for norm in NORMS:
        found[norm] = symmetry.margin_gradient_norms(net, images, labels, norm)
    return found


def deviations(found):
    """How far each statement is from holding, `[B]`."""
    turning = {
        "lemma 3, difference": found["margin"].difference.max(axis=0),
        "lemma 3, cosine": 1 - found["margin"].cosine.min(axis=0),
        "lemma 4, difference": found["jacobian"].difference.max(axis=0),
        "lemma 4, cosine": 1 - found["jacobian"].cosine.min(axis=0),
    }
    same = "logits", "lemma 1", "lemma 2", *NORMS
    return turning | {name: orbit.relative_spread(found[name]) for name in same}


def test_every_statement_holds_for_an_invariant_net_and_fails_for_another():
    exact = deviations(measured(small.net(*small.averaged_weights())))
    other = deviations(measured(small.net(*small.random_weights())))
    assert len(exact) == 10
    for name in exact:
        chex.assert_shape((exact[name], other[name]), (len(IMAGES),))
        assert np.max(exact[name]) < ROUNDING, name
        assert np.min(other[name]) > 1e-2, name


def test_the_error_of_a_layer_is_that_of_its_formula():
    kernel = np.random.default_rng(3).normal(size=(small.SIZE, small.SIZE, 1))

    def layers_fn(images):
        return {"maps": images * kernel.astype(np.float32)[None]}

    error = symmetry.equivariance_errors(layers_fn, IMAGES)["maps"]
    turned = [np.rot90(kernel, g, (0, 1)) for g in range(4)]
    for image, found in zip(IMAGES, error, strict=True):
        moved = [
            np.abs(np.rot90(image, g, (0, 1)) * (kernel - turned[g])).max()
            for g in range(4)
        ]
        assert found == pytest.approx(max(moved) / np.abs(image * kernel).max(), 1e-5)


def test_feature_maps_on_a_group_and_logits_are_compared_as_such():
    """Entry g of the map is `g (k * g^-1 x)`, which is equivariant for every k."""
    kernel = (
        np.random.default_rng(3).normal(size=(1, 1, *IMAGES.shape[1:])).astype("f4")
    )

    def layers_fn(images):
        field = orbit.apply_inverse(orbit.orbit(images) * kernel)  # for g^-1
        field = jnp.moveaxis(field[C4.inverses], 0, 3)
        return {
            "field": field,
            "unordered": field[..., ::-1, :],
            "pooled": field.max(axis=(1, 2, 3)),
            "flattened": field.max(axis=(1, 2)).reshape(len(images), -1),
        }

    errors = symmetry.equivariance_errors(layers_fn, IMAGES)
    for name in ("field", "pooled"):
        assert (errors[name] == 0).all()
    for name in ("unordered", "flattened"):
        assert np.min(errors[name]) > 1e-2


def test_layers_that_change_shape_or_vanish_or_are_nan_are_told():
    def layers_fn(images):
        return {
            "rows": images[:, ::2],
            "dead": 0 * images,
            "nan": images * jnp.nan,
            "symmetric": jnp.sin(images),
        }

    errors = symmetry.equivariance_errors(layers_fn, IMAGES)
    assert np.isinf(errors["rows"]).all()
    assert np.isnan(errors["dead"]).all() and np.isnan(errors["nan"]).all()
    assert (errors["symmetric"] == 0).all()


def test_a_linear_net_has_the_norms_of_its_kernel():
    kernel = small.random_weights()[1]
    found = measured(small.net(kernel=kernel))
    np.testing.assert_allclose(found["lemma 1"], np.linalg.norm(kernel, 2), 1e-5)
    gradients = kernel[LABELS, None] - kernel[RIVALS]  # [B, K - 1, pixels]
    dual = {
        "linf": np.abs(gradients).sum(axis=-1),
        "l2": np.sqrt((gradients**2).sum(axis=-1)),
        "l1": np.abs(gradients).max(axis=-1),
    }
    for norm, expected in dual.items():
        np.testing.assert_allclose(found[norm], np.stack([expected] * 4), 1e-5)
    logits = np.einsum("gij,bj,ki->gbk", small.turns(), small.flat(IMAGES), kernel)
    margins = logits[:, ROWS, LABELS, None] - logits[:, ROWS[:, None], RIVALS]
    np.testing.assert_allclose(found["logits"], logits, atol=1e-4)
    np.testing.assert_allclose(found["lemma 2"], margins, atol=1e-4)


def test_turning_compares_vectors_not_lengths():
    """A linear net keeps all norms, and its gradient does not turn."""
    kernel = small.random_weights()[1]
    found = measured(small.net(kernel=kernel))["logit"]
    vectors = kernel[LABELS]
    turned = np.einsum("gji,bj->gbi", small.turns(), vectors)
    lengths = np.linalg.norm(vectors, axis=1)
    difference = np.linalg.norm(turned - vectors, axis=-1) / lengths
    cosine = np.sum(turned * vectors, axis=-1) / lengths**2
    np.testing.assert_allclose(found.difference, difference, atol=1e-5)
    np.testing.assert_allclose(found.cosine, cosine, atol=1e-5)
    np.testing.assert_allclose(found.length, np.stack([lengths] * 4), 1e-5)
    assert np.min(found.difference[1:]) > 0.5


def test_masked_and_broken_gradients_are_told():
    masked = measured(small.net())
    assert (masked["margin"].length == 0).all() and (masked["l1"] == 0).all()
    assert np.isnan(masked["margin"].difference).all()
    assert np.isnan(orbit.relative_spread(masked["lemma 1"])).all()
    kernel = small.random_weights()[1]
    kernel[0, 0] = np.inf
    broken = measured(small.net(kernel=kernel))
    for name in ("lemma 1", *NORMS):
        assert np.isnan(broken[name]).all()
    tiny = np.zeros_like(kernel)
    tiny[0, 0] = 1e-30  # its square is 0 in float32
    found = measured(small.net(kernel=tiny))["lemma 1"]
    np.testing.assert_allclose(found, 1e-30, 1e-5)


def log_of_pixels(images):
    return jnp.log(small.flat(images - 0.5))[:, :3]


def test_a_finite_gradient_does_not_hide_a_nan_logit():
    assert np.isnan(symmetry.jacobian_norms(log_of_pixels, IMAGES)).any()


def test_smaller_groups_need_less_and_see_less():
    net = small.net(*small.random_weights())

    def half_turns(images):
        return net(images) + net(C2.act(1, images))

    deviation = orbit.relative_spread
    assert np.max(deviation(symmetry.orbit_logits(half_turns, IMAGES, C2))) < ROUNDING
    assert np.min(deviation(symmetry.orbit_logits(half_turns, IMAGES, C4))) > 1e-2
    wide = IMAGES[:, :4]
    found = symmetry.orbit_logits(lambda x: small.flat(x)[:, :3], wide, C2)
    chex.assert_shape(found, (2, len(IMAGES), 3))
    chex.assert_shape(symmetry.orbit_logits(half_turns, IMAGES, C1), (1, 4, 3))
    with pytest.raises(ValueError, match="4x6 pixels cannot be rotated by 90"):
        symmetry.orbit_logits(lambda x: small.flat(x)[:, :3], wide, C4)


def test_impossible_arguments_are_refused():
    net = small.net()
    with pytest.raises(ValueError, match="the net has 3 classes"):
        symmetry.orbit_margins(net, IMAGES, LABELS + 7)
    with pytest.raises(ValueError, match="leave the bounds"):
        symmetry.jacobian_norms(net, IMAGES + 1)
    with pytest.raises(ValueError, match="output='logits'"):
        symmetry.gradient_equivariance(net, IMAGES, LABELS, "logits")
    with pytest.raises(ValueError, match="expected .B, H, W, G, C."):
        symmetry.equivariance_errors(lambda x: {"a": x[:, 0]}, IMAGES)


def test_seeds_share_a_program_and_agree_with_one_alone(caplog):
    def net(kernel, images):
        return jnp.tanh(0.1 * small.flat(images) @ kernel.T)

    kernels = [jnp.asarray(small.random_weights(seed)[1], "f4") for seed in range(3)]
    *nets, another = (Partial(net, kernel) for kernel in kernels)
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *nets)
    measure = functools.partial(symmetry.margin_gradient_norms, norm="linf")
    together = over_seeds(measure, (0, None, None), together=True)(both, IMAGES, LABELS)
    chex.assert_shape(together, (2, 4, len(IMAGES), 2))
    for seed, alone in enumerate(nets):
        np.testing.assert_allclose(together[seed], measure(alone, IMAGES, LABELS), 1e-4)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        measure(another, IMAGES, LABELS)
    assert "Finished XLA compilation" not in caplog.text
