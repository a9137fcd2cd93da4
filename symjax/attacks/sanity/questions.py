"""The checks of the audit: title, function, source and advice of each.

title, compute, source, advice = CHECKS["doubling_steps"]
"""

from collections.abc import Callable
from typing import NamedTuple

from symjax.attacks.sanity import black_box, net, planted, program, strength, symmetry
from symjax.attacks.sanity.subject import AuditTarget, Finding

ATHALYE = "Athalye et al. 2018"
CARLINI = "Carlini et al. 2019"
CROCE = "Croce and Hein 2020"
PINTOR = "Pintor et al. 2022"
ZIMMERMANN = "Zimmermann et al. 2022"
OURS = "symjax"


class Question(NamedTuple):
    """The definition of a check."""

    title: str  # the property that a sound evaluation has, for tables
    compute: Callable[[AuditTarget], Finding]
    source: str  # the publication that the check is from
    advice: str
    """What to do if the check fails, in one sentence. `{steps}` is twice the number of
    steps of the audited attack, `{n_restarts}` four times that of its restarts."""


CHECKS: dict[str, Question] = {
    "enough_classes": Question(
        "enough classes for the DLR loss",
        net.classes,
        CROCE,
        "Attack another loss, with --loss cross_entropy or --loss margin: the DLR "
        "loss is not defined for so few classes.",
    ),
    "logits_not_probabilities": Question(
        "logits, not probabilities",
        net.probabilities,
        f"{CARLINI}, {CROCE}",
        "Let the net return its logits, from before the softmax: the losses of the "
        "attacks are wrong for probabilities.",
    ),
    "no_randomness": Question(
        "no randomness at inference",
        net.randomness,
        f"{ATHALYE}, {CROCE}",
        "Switch dropout and random transformations off at inference, or, if they are "
        "the defense, measure with attacks.autoattack(version='rand').",
    ),
    "no_batch_dependence": Question(
        "no dependence on the batch",
        net.batch,
        OURS,
        "Call the net in evaluation mode (train=False), so that batch norm uses its "
        "running averages and the logits of an image do not depend on other images.",
    ),
    "differentiable_operations": Question(
        "differentiable operations only",
        program.operations,
        f"{ATHALYE}, {PINTOR}",
        "Replace the named operations by differentiable ones, or attack a "
        "differentiable copy of the net, and report Square beside the gradient "
        "attacks.",
    ),
    "margin_gradients": Question(
        "gradients of the margin",
        net.margin_gradients,
        f"{ATHALYE}, {PINTOR}",
        "Look for saturated activations, rounding or stop_gradient in the net, which "
        "mask its gradients, and do not report a gradient attack until this check "
        "passes.",
    ),
    "loss_gradients": Question(
        "gradients of the attacked loss",
        net.loss_gradients,
        f"{CROCE}, {PINTOR}",
        "Attack a loss that does not saturate, with --loss margin or --loss dlr, or "
        "use AutoAttack.",
    ),
    "returned_images": Question(
        "returned images are valid and flagged correctly",
        strength.returned,
        CARLINI,
        "Correct the attack: either its projection into the ball and the bounds or "
        "what it reports about the images that it returns is wrong.",
    ),
    "pgd_at_least_fgsm": Question(
        "PGD at least as strong as FGSM",
        strength.fgsm_weaker,
        f"{ATHALYE}, {CARLINI}",
        "Leave out --step_size and rerun with --steps {steps}; if one step still "
        "breaks more images than many steps, the step or the gradients of the attack "
        "are wrong.",
    ),
    "success_grows_with_eps": Question(
        "success grows with eps",
        strength.growing,
        f"{ATHALYE}, {CARLINI}",
        "Leave out --step_size, so that the step grows with eps, and rerun with "
        "--n_restarts {n_restarts}, or use AutoAttack, because gradients may be "
        "masked.",
    ),
    "grey_image": Question(
        "gray image at eps 0.5",
        strength.gray,
        CARLINI,
        "Leave out --step_size and rerun with --steps {steps}; if images remain "
        "robust that could be gray, gradients are masked or the projection is wrong.",
    ),
    "unbounded_attack": Question(
        "unbounded attack succeeds",
        strength.unbounded,
        f"{ATHALYE}, {PINTOR}",
        "Leave out --step_size and rerun with --steps {steps}; if images remain "
        "robust where every image is allowed, gradients are masked or the attack is "
        "wrong.",
    ),
    "doubling_steps": Question(
        "doubling steps",
        strength.steps,
        CARLINI,
        "Rerun with --steps {steps} until the success no longer changes, or use "
        "AutoAttack.",
    ),
    "doubling_restarts": Question(
        "doubling restarts",
        strength.restarts,
        CARLINI,
        "Rerun with --n_restarts {n_restarts}, or use AutoAttack.",
    ),
    "loss_converged": Question(
        "margin converged",
        strength.moving,
        PINTOR,
        "Rerun with --steps {steps} until the loss no longer rises, or use AutoAttack.",
    ),
    "path_returned": Question(
        "adversarial examples on the path are returned",
        strength.path,
        PINTOR,
        "Return the best iterate and not the last one, with --keep best.",
    ),
    "square": Question(
        "Square breaks no more images",
        black_box.square_attack,
        f"{ATHALYE}, {CROCE}",
        "Report AutoAttack instead of PGD: an attack without gradients breaks more "
        "images, which points to masked gradients.",
    ),
    "transfer": Question(
        "transfer breaks no more images",
        black_box.transfer,
        f"{CARLINI}, {PINTOR}",
        "Report AutoAttack instead of PGD: adversarial examples of other nets break "
        "more images, which points to masked gradients.",
    ),
    "random_draws": Question(
        "random draws break no more images",
        black_box.draws,
        f"{ATHALYE}, {CARLINI}",
        "Leave out --step_size and rerun with --n_restarts {n_restarts}; if random "
        "points still break more images, gradients are masked or the attack steps in "
        "the wrong direction.",
    ),
    "planted_weakness": Question(
        "planted weakness found",
        planted.weakness,
        ZIMMERMANN,
        "Rerun with --steps {steps} --n_restarts {n_restarts}, or use AutoAttack: "
        "with these settings the attack misses errors that are known to exist.",
    ),
    "rotated_image": Question(
        "rotated image, rotated adversarial example",
        symmetry.rotated,
        OURS,
        "Look for a part of the attack that treats height and width or the corners of "
        "an image differently, such as a flattened index or a fixed start.",
    ),
}
"""The checks by name, in the order in which they run."""
