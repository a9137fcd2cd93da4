"""The sanity audit of a trained run: its first seed's net, and PGD as it is set.

checks = audit(run, attacks.Linf(8 / 255), n=200)
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from symjax import models, seeds
from symjax.attacks import ThreatModel, sanity
from symjax.data.augment import to_unit
from symjax.evaluation.measurement import first_images
from symjax.evaluation.run import Run
from symjax.seeds import Stream, stream


def audit(
    run: Run, threat: ThreatModel, n: int = 200, **options: Any
) -> list[sanity.Check]:
    """Puts a run to every check.

    Args:
      run: the trained run; the other seeds' adversarial images are tried on the first.
      threat: ball and bounds of the evaluation.
      n: the first n test images.
      **options: of `attacks.sanity.audit`.

    Returns:
      One check each.

    Raises:
      ValueError: as `attacks.sanity.audit`; if the test split has fewer than n images;
        or if the first seed diverged.
    """
    if run.diverged[0]:
        raise ValueError(
            f"{run.folder}: seed {run.seeds[0]} diverged; audit another run."
        )
    images, labels = first_images(run, n)
    nets = [seeds.of_seed(run.logits_fns, index) for index in range(len(run.seeds))]
    others = [net for net, lost in zip(nets, run.diverged, strict=True) if not lost]
    key = seeds.of_seed(run.experiment.keys, 0)
    wide = run.experiment.model.clone(dtype=jnp.float64)
    variables = seeds.of_seed(run.state.variables, 0)
    return sanity.audit(
        nets[0],
        np.asarray(to_unit(images)),
        labels,
        stream(key, Stream.EVALUATION_ATTACK),
        threat,
        peers=others[1:],
        logits_fn_float64=models.logits_fn(wide, variables),
        group=run.experiment.model.group.grid.group,
        **options,
    )
