"""Names as people spell them."""

import numpy as np
import pytest

from symjax import names
from symjax.evaluation import Attack, metrics
from symjax.evaluation.attack import NAMES
from symjax.evaluation.published_attack import PublishedAttack
from symjax.names import matched

NORMS = ("linf", "l2", "l1")


@pytest.mark.parametrize(
    ("kind", "given", "name"),
    [
        *[("attack", "PGD", "pgd"), ("attack", "Auto-Attack", "autoattack")],
        *[("attack", "auto_attack", "autoattack"), ("attack", "AA", "autoattack")],
        *[("attack", "AutoAttack+", "autoattack-plus"), ("attack", "C&W", "cw")],
        *[("attack", "DeepFool", "deepfool"), ("attack", "APGD-CE", "apgd-ce")],
        *[("attack", "apgdt", "apgd-t"), ("attack", "FAB-T", "fab-t")],
        *[("attack", "Square Attack", "square"), ("attack", "Carlini-Wagner", "cw")],
        *[("attack", name, name) for name in NAMES],
        *[("norm", x, "linf") for x in ("Linf", "L-inf", "inf", np.inf, "np.inf")],
        *[("norm", "L2", "l2"), ("norm", 2, "l2"), ("norm", 1, "l1")],
    ],
)
def test_names_as_peers_spell_them(kind, given, name):
    assert matched(kind, given, NAMES if kind == "attack" else NORMS) == name


def test_a_typo_is_an_error_with_the_nearest_name():
    with pytest.raises(
        ValueError, match="'pdg': expected one of .*mean 'pgd'"
    ) as error:
        matched("attack", "pdg", NAMES)
    assert "\n" not in str(error.value)
    with pytest.raises(
        ValueError, match=r"norm 'xyz': expected one of linf, l2, l1\.$"
    ):
        matched("norm", "xyz", NORMS)
    with pytest.raises(ValueError, match="'cw': expected one of pgd, fgsm"):
        matched("attack", "cw", ("pgd", "fgsm"))  # spelled right, and not there


def test_spellings_are_of_names_that_there_are():
    assert set(names.SPELLINGS["attack"].values()) <= set(NAMES)
    assert set(names.SPELLINGS["metric"].values()) <= {*metrics.METRICS, "corruption"}


def test_python_takes_them_too():
    assert Attack("PGD") == Attack("pgd")
    assert Attack("Auto-Attack").identity() == Attack("autoattack").identity()
    assert PublishedAttack("PGD", None) == PublishedAttack("pgd", None)  # pyright: ignore
    one, other = (metrics.build("CLEVER", norms=(x,)) for x in ("L2", "l2"))
    assert [figure.identity for figure in one] == [figure.identity for figure in other]
    with pytest.raises(ValueError, match="did you mean 'clever'"):
        metrics.build("clevr")
