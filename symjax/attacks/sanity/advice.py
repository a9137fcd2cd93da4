"""What to do about a check of the audit that fails, one sentence each.

ADVICE["doubling restarts"].format(steps=80, restarts=4)
"""

ADVICE: dict[str, str] = {
    "enough classes for the DLR loss": (
        "Attack another loss, with --loss cross_entropy or --loss margin: the DLR loss "
        "is not defined for so few classes."
    ),
    "logits, not probabilities": (
        "Let the net return its logits, from before the softmax: the losses of the "
        "attacks are wrong for probabilities."
    ),
    "no randomness at inference": (
        "Switch dropout and random transformations off at inference, or, if they are "
        "the defense, measure with attacks.autoattack(version='rand')."
    ),
    "no dependence on the batch": (
        "Call the net in evaluation mode (train=False), so that batch norm uses its "
        "running averages and the logits of an image are its own."
    ),
    "differentiable operations only": (
        "Replace the operations that are named by differentiable ones, or attack a "
        "differentiable copy of the net, and report Square beside the gradient attacks."
    ),
    "gradients of the margin": (
        "Look for saturated activations, rounding or stop_gradient in the net, which "
        "mask its gradients, and do not report a gradient attack until this passes."
    ),
    "gradients of the attacked loss": (
        "Attack a loss that does not saturate, with --loss margin or --loss dlr, or "
        "use AutoAttack."
    ),
    "returned images hold": (
        "Correct the attack: either its projection into the ball and the bounds or "
        "what it reports about the images that it returns is wrong."
    ),
    "PGD at least as strong as FGSM": (
        "Leave out --step_size and rerun with --steps {steps}; if one step still "
        "finds more than many, the step or the gradients of the attack are wrong."
    ),
    "success grows with eps": (
        "Leave out --step_size, so that the step grows with eps, and rerun with "
        "--restarts {restarts}, or use AutoAttack, since gradients may be masked."
    ),
    "grey image at eps 0.5": (
        "Leave out --step_size and rerun with --steps {steps}; if images still stand "
        "that could be grey, gradients are masked or the projection is wrong."
    ),
    "unbounded attack succeeds": (
        "Leave out --step_size and rerun with --steps {steps}; if images still stand "
        "where every image is allowed, gradients are masked or the attack is wrong."
    ),
    "doubling steps": (
        "Rerun with --steps {steps} until the success no longer changes, or use "
        "AutoAttack."
    ),
    "doubling restarts": "Rerun with --restarts {restarts}, or use AutoAttack.",
    "loss no longer moving": (
        "Rerun with --steps {steps} until the loss no longer rises, or use AutoAttack."
    ),
    "found on the path, returned": (
        "Return the best iterate and not the last one, with --keep best."
    ),
    "Square finds no more": (
        "Report AutoAttack in place of PGD: an attack without gradients finds more, "
        "which points to masked gradients."
    ),
    "transfer finds no more": (
        "Report AutoAttack in place of PGD: images of other nets break more, which "
        "points to masked gradients."
    ),
    "random draws find no more": (
        "Leave out --step_size and rerun with --restarts {restarts}; if random points "
        "still break more, gradients are masked or the attack steps the wrong way."
    ),
    "planted weakness found": (
        "Rerun with --steps {steps} --restarts {restarts}, or use AutoAttack: the "
        "attack as it is set misses errors that are known to be there."
    ),
    "turned image, turned adversarial": (
        "Look in the attack for what treats height and width or the corners of an "
        "image differently, such as a flattened index or a fixed start."
    ),
}
"""By the name of the check. `{steps}` and `{restarts}` are twice and four times those
of the audited attack."""
