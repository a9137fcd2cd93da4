"""Errors on corrupted images in one figure (Hendrycks and Dietterich 2019).

    mean_error(accuracy)                         # [S], as the benchmark does on CIFAR
    corruption_error(accuracy, reference)        # [S], mCE
    relative_error(accuracy, clean, reference, reference_clean)

Accuracies are `[S, C, V]`: seeds, corruptions, severities; fractions. Which corruptions
they are of is the caller's choice: the 15 of the benchmark, or all 19.
"""

import numpy as np
from numpy.typing import ArrayLike


def mean_error(accuracy: ArrayLike) -> np.ndarray:
    """The plain mean of the errors, every corruption and severity alike.

    Args:
      accuracy: `[S, C, V]`.

    Returns:
      `[S]`, fractions.
    """
    return np.mean(_errors(accuracy), axis=(1, 2))


def corruption_error(accuracy: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """mCE: `mean_c sum_s E_cs / sum_s E_cs(reference)`.

    Args:
      accuracy: `[S, C, V]`.
      reference: `[R, C, V]`, of the net that defines 1, whose R seeds are averaged.

    Returns:
      `[S]`; 1 is as good as the reference, less is better. Infinite where the reference
      makes no error on a corruption.
    """
    ours, theirs = (np.sum(_errors(x), axis=2) for x in (accuracy, reference))
    with np.errstate(divide="ignore"):
        return np.mean(ours / np.mean(theirs, axis=0), axis=1)


def relative_error(
    accuracy: ArrayLike,
    clean: ArrayLike,
    reference: ArrayLike,
    reference_clean: ArrayLike,
) -> np.ndarray:
    """Relative mCE: `mean_c sum_s (E_cs - E) / sum_s (E_cs - E)(reference)`.

    How much is lost beyond the error on clean images. A net with a lower clean error
    can have a larger one; neither figure says more than the other.

    Args:
      accuracy: `[S, C, V]`.
      clean: `[S]`, the accuracy on clean images.
      reference, reference_clean: the same of the net that defines 1; of its seeds, the
        means are taken.

    Returns:
      `[S]`.
    """
    ours, theirs = (
        np.sum(np.asarray(clean_of)[:, None, None] - np.asarray(values), axis=2)
        for values, clean_of in ((accuracy, clean), (reference, reference_clean))
    )
    with np.errstate(divide="ignore"):
        return np.mean(ours / np.mean(theirs, axis=0), axis=1)


def _errors(accuracy: ArrayLike) -> np.ndarray:
    errors = 1 - np.asarray(accuracy, np.float64)
    if errors.ndim != 3:
        raise ValueError(f"accuracies {list(errors.shape)}: expected [S, C, V].")
    return errors
