"""The advice for each check of the audit that fails, in one sentence.

ADVICE["doubling_restarts"].format(steps=80, n_restarts=4)
"""

ADVICE: dict[str, str] = {
    "enough_classes": (
        "Attack another loss, with --loss cross_entropy or --loss margin: the DLR loss "
        "is not defined for so few classes."
    ),
    "logits_not_probabilities": (
        "Let the net return its logits, from before the softmax: the losses of the "
        "attacks are wrong for probabilities."
    ),
    "no_randomness": (
        "Switch dropout and random transformations off at inference, or, if they are "
        "the defense, measure with attacks.autoattack(version='rand')."
    ),
    "no_batch_dependence": (
        "Call the net in evaluation mode (train=False), so that batch norm uses its "
        "running averages and the logits of an image do not depend on other images."
    ),
    "differentiable_operations": (
        "Replace the named operations by differentiable ones, or attack a "
        "differentiable copy of the net, and report Square beside the gradient attacks."
    ),
    "margin_gradients": (
        "Look for saturated activations, rounding or stop_gradient in the net, which "
        "mask its gradients, and do not report a gradient attack until this check "
        "passes."
    ),
    "loss_gradients": (
        "Attack a loss that does not saturate, with --loss margin or --loss dlr, or "
        "use AutoAttack."
    ),
    "returned_images": (
        "Correct the attack: either its projection into the ball and the bounds or "
        "what it reports about the images that it returns is wrong."
    ),
    "pgd_at_least_fgsm": (
        "Leave out --step_size and rerun with --steps {steps}; if one step still "
        "breaks more images than many steps, the step or the gradients of the attack "
        "are wrong."
    ),
    "success_grows_with_eps": (
        "Leave out --step_size, so that the step grows with eps, and rerun with "
        "--n_restarts {n_restarts}, or use AutoAttack, because gradients may be masked."
    ),
    "grey_image": (
        "Leave out --step_size and rerun with --steps {steps}; if images remain robust "
        "that could be gray, gradients are masked or the projection is wrong."
    ),
    "unbounded_attack": (
        "Leave out --step_size and rerun with --steps {steps}; if images remain robust "
        "where every image is allowed, gradients are masked or the attack is wrong."
    ),
    "doubling_steps": (
        "Rerun with --steps {steps} until the success no longer changes, or use "
        "AutoAttack."
    ),
    "doubling_restarts": "Rerun with --n_restarts {n_restarts}, or use AutoAttack.",
    "loss_converged": (
        "Rerun with --steps {steps} until the loss no longer rises, or use AutoAttack."
    ),
    "path_returned": (
        "Return the best iterate and not the last one, with --keep best."
    ),
    "square": (
        "Report AutoAttack instead of PGD: an attack without gradients breaks more "
        "images, which points to masked gradients."
    ),
    "transfer": (
        "Report AutoAttack instead of PGD: adversarial examples of other nets break "
        "more images, which points to masked gradients."
    ),
    "random_draws": (
        "Leave out --step_size and rerun with --n_restarts {n_restarts}; if random "
        "points still break more images, gradients are masked or the attack steps in "
        "the wrong direction."
    ),
    "planted_weakness": (
        "Rerun with --steps {steps} --n_restarts {n_restarts}, or use AutoAttack: with "
        "these settings the attack misses errors that are known to exist."
    ),
    "rotated_image": (
        "Look for a part of the attack that treats height and width or the corners of "
        "an image differently, such as a flattened index or a fixed start."
    ),
}
"""The advice by the name of the check. `{steps}` is twice the number of steps of the
audited attack, `{n_restarts}` is four times the number of its restarts."""
