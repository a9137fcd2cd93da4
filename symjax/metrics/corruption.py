"""Summaries of the errors on corrupted images (Hendrycks and Dietterich 2019).

    mean_error(accuracy)                         # [S], as the benchmark does on CIFAR
    corruption_error(accuracy, reference)        # [S], mCE
    relative_error(accuracy, clean, reference, reference_clean)

Accuracies are fractions `[S, C, V]`: seeds, corruptions, severities. The caller chooses
the corruptions: the 15 of the benchmark, or all 19.
"""

import numpy as np
from numpy.typing import ArrayLike


def mean_error(accuracy: ArrayLike) -> np.ndarray:
    """The mean of the errors over all corruptions and severities.

    Args:
      accuracy: `[S, C, V]`.

    Returns:
      `[S]`, fractions.
    """
    return np.mean(_errors(accuracy), axis=(1, 2))


def corruption_error(accuracy: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """The mean corruption error, mCE: `mean_c sum_s E_cs / sum_s E_cs(reference)`.

    Args:
      accuracy: `[S, C, V]`.
      reference: `[R, C, V]`, accuracies of the reference net, averaged over R seeds.

    Returns:
      `[S]`; 1 for the reference net, and less for better nets. Infinite if the
      reference net has no error on a corruption.
    """
    return _mean_ratio(_errors(accuracy), _errors(reference))


def relative_error(
    accuracy: ArrayLike,
    clean: ArrayLike,
    reference: ArrayLike,
    reference_clean: ArrayLike,
) -> np.ndarray:
    """The relative mCE: `mean_c sum_s (E_cs - E) / sum_s (E_cs - E)(reference)`.

    It measures the error beyond that on clean images. A net with a lower clean error
    can have a larger relative mCE; both metrics are needed.

    Args:
      accuracy: `[S, C, V]`.
      clean: `[S]`, the accuracy on clean images.
      reference, reference_clean: accuracies of the reference net, averaged over its
        seeds.

    Returns:
      `[S]`; 1 for the reference net.
    """
    ours, theirs = (
        np.asarray(clean_of)[:, None, None] - np.asarray(values)
        for values, clean_of in ((accuracy, clean), (reference, reference_clean))
    )
    return _mean_ratio(ours, theirs)


def _mean_ratio(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The mean over corruptions of our sum of errors over that of the reference."""
    ours, theirs = np.sum(ours, axis=2), np.sum(theirs, axis=2)
    with np.errstate(divide="ignore"):
        return np.mean(ours / np.mean(theirs, axis=0), axis=1)


def _errors(accuracy: ArrayLike) -> np.ndarray:
    errors = 1 - np.asarray(accuracy, np.float64)
    if errors.ndim != 3:
        raise ValueError(
            f"accuracies of shape {list(errors.shape)}: expected [S, C, V], with axes "
            "for seeds, corruptions and severities."
        )
    return errors
