"""Verdicts from rows that are known: what holds, what does not, what is open."""

import numpy as np
import pytest

from symjax.report.parts import VERDICTS
from symjax.statistics import Estimate
from symjax.study import attribution, build, earlier, figures, published, tables
from symjax.study.claims import CLAIMS
from symjax.study.evidence import Evidence
from symjax.study.judging import Finding, above, below, every, overall
from symjax.study.printed import printed_curve, printed_gains, printed_means
from symjax.study.size import FULL

BASE, OURS = (published.run("cifar10", 10, net) for net in ("baseline", "parallel_rs"))


class Known(Evidence):
    """Every mean is given by `percent(name, protocol, attack, eps)`; intervals are one
    point to each side."""

    def __init__(self, folder, percent):
        super().__init__(folder)
        self.percent = percent

    def line(self, name, protocol, attack, switches=()):
        found = super().line(name, protocol, attack, switches)
        if found is not None:
            call = name, "switched" if switches else protocol, attack
            values = [[self.percent(*call, eps) for eps in found.eps]] * 5
            object.__setattr__(found, "values", np.array(values, float))
        return found

    def difference(self, ours, theirs, protocol, attack, eps):
        gap = self.percent(ours, protocol, attack, eps)
        gap -= self.percent(theirs, protocol, attack, eps)
        return None if np.isnan(gap) else Estimate(gap, gap - 1, gap + 1, 10)


def known(tmp_path, **of_net):
    """Nets by name in the run's, all else at 30 %."""

    def percent(name, *_):
        return next((x for net, x in of_net.items() if net in name), 30.0)

    return Known(tmp_path, percent)


@pytest.mark.parametrize("rs, holds", [(40, True), (20, False), (30.5, None)])
def test_above_needs_every_interval(tmp_path, rs, holds):
    evidence = known(tmp_path, parallel_rs=rs)
    assert above(evidence, "sound", [OURS], [BASE]).holds is holds


def test_above_is_open_where_some_intervals_contain_0(tmp_path):
    def percent(name, protocol, attack, eps):
        return 30.0 + (5 if "parallel_rs" in name and attack == "fgsm" else 0)

    found = above(Known(tmp_path, percent), "published", [OURS], [BASE])
    assert found.holds is None
    assert "15 of 30 differences above 0, 0 below" in found.text


def test_one_interval_below_0_refutes(tmp_path):
    def percent(name, protocol, attack, eps):
        return 30.0 + ("parallel_rs" in name) * (5 if eps < 0.15 else -5)

    found = above(Known(tmp_path, percent), "sound", [OURS], [BASE])
    assert found.holds is False
    assert "28 of 30 differences above 0, 2 below; the least is -5.00" in found.text


def test_cells_where_nothing_is_left_say_nothing(tmp_path):
    def percent(name, protocol, attack, eps):
        return 0.5 if attack == "pgd" else 30 + 9 * ("parallel_rs" in name)

    found = above(Known(tmp_path, percent), "sound", [OURS], [BASE])
    assert found.holds is True and "15 of 15" in found.text


def test_missing_rows_leave_a_claim_open_and_are_named(tmp_path):
    found = above(Evidence(tmp_path), "sound", [OURS], [BASE])
    assert found == Finding(None, f"not measured: {OURS} and 1 more", [OURS, BASE])
    evidence = known(tmp_path, parallel_rs=float("nan"))
    assert above(evidence, "sound", [OURS], [BASE]).holds is None


def test_below_is_of_every_run(tmp_path):
    evidence = known(tmp_path, weighted=10, cascaded=14)
    names = [published.run("cifar10", 10, net) for net in ("weighted", "cascaded")]
    call = evidence, "published", names, "fgsm", 0.15
    assert below(*call, 15).holds is True
    assert below(*call, 14).holds is False
    assert below(Evidence(tmp_path), *call[1:], 15).holds is None


TRUE, FALSE, OPEN = (Finding(x, str(x)) for x in (True, False, None))


@pytest.mark.parametrize(
    "found, holds",
    [([TRUE, TRUE], True), ([TRUE, OPEN], None), ([OPEN, FALSE], False)],
)
def test_every(found, holds):
    assert every(*found).holds is holds


@pytest.mark.parametrize(
    "as_published, sound, verdict",
    [
        (TRUE, TRUE, "stands"),
        (TRUE, FALSE, "stands only under the published protocol"),
        (FALSE, TRUE, "stands only under a sound protocol"),
        (FALSE, FALSE, "does not stand"),
        (OPEN, FALSE, "inconclusive"),
        (TRUE, OPEN, "inconclusive"),
    ],
)
def test_overall(as_published, sound, verdict):
    assert overall(as_published, sound) == verdict


def verdict_of(evidence, words):
    (claim,) = [claim for claim in CLAIMS if words in claim.quote]
    return claim.judge(evidence)


def test_verdicts_follow_the_rows(tmp_path):
    """The best net wins as published alone: so says the verdict."""

    def percent(name, protocol, attack, eps):
        gap = 10 if protocol == "published" else -10
        return 30.0 + gap * ("parallel_rs" in name)

    found = verdict_of(Known(tmp_path, percent), "significantly outperform")
    assert found.verdict == "stands only under the published protocol"
    assert (found.published, found.sound) == ("holds", "does not hold")
    found = verdict_of(known(tmp_path, parallel_rs=40), "significantly outperform")
    assert found.verdict == "stands"
    found = verdict_of(Evidence(tmp_path), "significantly outperform")
    assert found.verdict == "inconclusive" and "study list" in found.evidence


def test_pgd_is_competitive_unless_it_is_below(tmp_path):
    trained = {"baseline-published-pgd": 30.5}
    found = verdict_of(known(tmp_path, **trained), "competitive PGD")
    assert found.verdict == "stands"
    trained = {"baseline-published-pgd": 35.0}
    found = verdict_of(known(tmp_path, **trained), "competitive PGD")
    assert found.verdict == "does not stand"


def test_facts_do_not_wait_for_rows(tmp_path):
    found = verdict_of(Evidence(tmp_path), "without requiring adversarial training")
    assert found.verdict == "does not stand" and "FGSM examples" in found.evidence
    found = verdict_of(Evidence(tmp_path), "enforce rotation equivariance")
    assert found.verdict == "stands" and "logits are not invariant" in found.evidence
    found = verdict_of(known(tmp_path, parallel_rs=90), "remained the most robust")
    assert found.verdict == "does not stand"  # by the paper's own figure


def test_what_the_paper_prints_is_read_as_it_is():
    text = printed_curve("cifar100", 4, "parallel_rs", "parallel_rot")
    assert "fgsm: above at 3 of 14 epsilons, below at 0.01, 0.02" in text
    assert "+7.36, +13.31, +13.15, +6.98" in printed_gains("cifar10")
    assert "cascaded 2.76 printed, 3.02 of the rows" in printed_means()


def test_all_claims_have_a_verdict_without_a_row(tmp_path):
    kinds = {claim.judge(Evidence(tmp_path)).kind for claim in CLAIMS}
    assert kinds == {"stands", "does not stand", "inconclusive"} <= set(VERDICTS)
    assert len({(claim.where, claim.quote) for claim in CLAIMS}) == len(CLAIMS)


def test_the_points_of_the_switches_add_up(tmp_path):
    def percent(name, protocol, attack, eps):
        ends = {"sound": 10.0, "switched": 25.0, "published": 60.0}
        return ends[protocol]

    table = attribution.in_turn(Known(tmp_path, percent))
    place = {name: index for index, name in enumerate(table.columns)}
    for row in table.rows:
        between = row[place["sound"] + 1 : place["published protocol"]]
        points = sum(value for value in between if value is not None)
        assert row[place["sound"]] + points == row[place["published protocol"]] == 60
    of_rs = [row for row in table.rows if row[0] == "parallel_rs" and row[1] == "pgd"]
    assert of_rs[0][place["published"]] == 64.9  # Figure 2 at 0.01
    assert of_rs[0][place["batch norm"]] is not None
    of_base = [row for row in table.rows if row[0] == "baseline"]
    assert all(row[place["batch norm"]] is None for row in of_base)


def test_a_published_number_is_met_within_four_points(tmp_path):
    def percent(name, protocol, attack, eps):
        return (evidence.published(name, attack, eps) or 0) + 3 + 2 * (eps == 0.01)

    evidence = Known(tmp_path, percent)
    rows = {row[0]: row for row in tables.met(evidence).rows}
    name, _, cells, measured, near, worst = rows[BASE]
    assert cells == measured and near == cells - 2  # FGSM and PGD at 0.01
    assert worst == pytest.approx(5)
    assert all(row[5] is None for row in tables.met(Evidence(tmp_path)).rows)


def test_table_1_is_compared_with_pgd(tmp_path, monkeypatch):
    evidence = Evidence(tmp_path)
    printed = published.numbers()["table1_cifar10c"]["rows"]
    nets = published.TABLE_1_NETS

    def corrupted(name, protocol, attack):
        """PGD two points above the paper, FGSM far from it; NaN but for one net."""
        values = np.full((5, 19, 5, 4), np.nan)
        if name == BASE:
            rows = [printed[x][nets[0]] for x in evidence.size.corruptions]
            values[:] = np.array(rows)[None, :, None] + {"pgd": 2, "fgsm": 40}[attack]
        return values

    monkeypatch.setattr(evidence, "corrupted", corrupted)
    rows = {row[0]: row[2:] for row in tables.met(evidence).rows}
    cells, measured, near, worst = rows[f"{BASE}, CIFAR-10-C"]
    assert cells == measured == near > 10 and worst == pytest.approx(2)
    assert rows[BASE][1] == 0 and rows[f"{OURS}, CIFAR-10-C"][1] == 0
    (means,) = [tables.table_1_means(evidence, nets[0], "published")]
    assert means is not None and means.shape == (19, 1, 4)  # PGD alone


def test_table_1_prints_what_the_paper_prints(tmp_path):
    table = tables.table_1(Evidence(tmp_path))
    rows = {(row[0], row[1]): row[2:] for row in table.rows}
    assert rows["brightness", "published"][0] == 14.79
    assert rows["mean", "of the published rows"][4] == pytest.approx(3.02, abs=0.01)
    assert set(rows["snow", "ours, pgd"]) == {None}


def test_shorter_trainings_are_compared_over_seeds():
    def row(net, value, attack="pgd"):
        says = {"model": net, "attack": attack, "steps": 40, "n": 100, "eps": 0.1}
        return says | {"value": value, "diverged": False}

    rows = [row("baseline", x) for x in (0.50, 0.52, 0.51)]
    rows += [row("weighted", x) for x in (0.30, 0.31, 0.32)]
    rows += [row("cascaded", x) for x in (0.40, 0.50, 0.60)]
    lines = {line[1]: line for line in earlier.differences(rows).rows}
    assert lines["weighted"][-1] == "below" and lines["cascaded"][-1] == "open"
    assert lines["weighted"][5].startswith("-20.00 (-")
    assert "0 above, 1 below, 1 open" in earlier.sentence(rows)


@pytest.mark.slow
def test_build_writes_everything_from_nothing(tmp_path, monkeypatch):
    """But for the figures, which have tests of their own."""
    monkeypatch.setattr(figures, "pictures", lambda evidence: [])
    monkeypatch.setattr(figures, "save", lambda evidence, folder: [])
    results, out = tmp_path / "results" / "study", tmp_path / "docs"
    written = build.build(results, out)
    assert {path.name for path in written} >= {"paper.md", "report.html"}
    text = (out / "paper.md").read_text()
    verdicts = ("inconclusive", "does not stand", "stands")
    assert sum(text.count(f"**{x}**") for x in verdicts) == len(CLAIMS)
    assert "| 10-layer equivariant | published | – | 73.01 | 64.96 |" in text
    page = (out / "report.html").read_text()
    assert all(name in page for name in FULL.trainings)
    assert not list(out.rglob("*.partial"))
