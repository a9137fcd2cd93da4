"""Verdicts and tables from rows that are known: what holds, what does not, what is
open."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from study import build, figures, paper, provenance, tables
from study.claims import (
    CLAIMS,
    Finding,
    compare,
    every,
    is_below,
    overall,
    printed,
    printed_means,
    spread,
)
from study.results import Gpu12, StudyResults
from study.runs import FULL, REDUCED, TRAININGS, run_name
from symjax import io
from symjax.models import MODELS
from symjax.report.parts import VERDICTS, Verdict
from symjax.statistics import Estimate
from tests.paths import ROOT

BASE, OURS = (run_name("cifar10", 10, net) for net in ("baseline", "parallel_rs"))
NETS = {name: x.net for name, x in TRAININGS.items()}


class Known(StudyResults):
    """Every mean is given by `percent(name, protocol, attack, eps)`; intervals are one
    point to each side."""

    def __init__(self, folder, percent, size=FULL):
        super().__init__(folder, size)
        self.percent = percent

    def curve(self, name, protocol, attack, switches=()):
        found = super().curve(name, protocol, attack, switches)
        if found is None:
            return None
        call = name, "switched" if switches else protocol, attack
        values = [[self.percent(*call, eps) for eps in found.eps]] * 5
        return dataclasses.replace(found, values=np.array(values, float))

    def difference(self, ours, theirs, protocol, attack, eps):
        gap = self.percent(ours, protocol, attack, eps)
        gap -= self.percent(theirs, protocol, attack, eps)
        return None if np.isnan(gap) else Estimate(gap, gap - 1, gap + 1, 10)


def known(tmp_path, **of_net):
    """Nets by name, all others at 30 %."""
    return Known(tmp_path, lambda name, *_: of_net.get(NETS[name], 30.0))


@pytest.mark.parametrize("rs, holds", [(40, True), (20, False), (30.5, None)])
def test_a_comparison_needs_every_interval(tmp_path, rs, holds):
    results = known(tmp_path, parallel_rs=rs)
    assert compare([OURS], [BASE], results, "sound").holds is holds
    at_least = compare([OURS], [BASE], results, "sound", at_least=True)
    assert at_least.holds is (holds is not False)


def test_a_comparison_is_open_where_some_intervals_contain_0(tmp_path):
    def percent(name, protocol, attack, eps):
        return 30.0 + (5 if name == OURS and attack == "fgsm" else 0)

    found = compare([OURS], [BASE], Known(tmp_path, percent), "published")
    assert found.holds is None
    assert "15 of 30 differences above 0, 0 below" in found.text


def test_one_interval_below_0_refutes(tmp_path):
    def percent(name, protocol, attack, eps):
        return 30.0 + (name == OURS) * (5 if eps < 0.15 else -5)

    found = compare([OURS], [BASE], Known(tmp_path, percent), "sound")
    assert found.holds is False
    assert "28 of 30 differences above 0, 2 below; the least is -5.00" in found.text


def test_cells_below_1_percent_do_not_count(tmp_path):
    def percent(name, protocol, attack, eps):
        return 0.5 if attack == "pgd" else 30 + 9 * (name == OURS)

    found = compare([OURS], [BASE], Known(tmp_path, percent), "sound")
    assert found.holds is True and "15 of 15" in found.text


def test_missing_rows_leave_a_claim_open_and_are_named(tmp_path):
    found = compare([OURS], [BASE], StudyResults(tmp_path), "sound")
    assert found == Finding(None, f"not measured: {OURS} and 1 more", (OURS, BASE))
    results = known(tmp_path, parallel_rs=float("nan"))
    assert compare([OURS], [BASE], results, "sound").holds is None


def test_below_is_of_every_run(tmp_path):
    results = known(tmp_path, weighted=10, cascaded=14)
    runs = [run_name("cifar10", 10, net) for net in ("weighted", "cascaded")]

    def holds(results, percent):
        call = runs, results, "published", "fgsm", 0.15, percent
        return is_below(*call).holds

    assert holds(results, 15) is True and holds(results, 14) is False
    reduced = Known(tmp_path, results.percent, REDUCED)  # up to 0.10 only
    assert holds(reduced, 15) is True and holds(reduced, 14) is None
    assert holds(StudyResults(tmp_path), 15) is None


TRUE, FALSE, OPEN = (Finding(x, str(x)) for x in (True, False, None))


def test_one_finding_that_fails_is_enough():
    assert every([TRUE, TRUE]).holds is True
    assert every([TRUE, OPEN]).holds is None
    assert every([OPEN, FALSE]).holds is False


@pytest.mark.parametrize(
    "as_published, sound, verdict",
    [
        (TRUE, TRUE, "stands"),
        (TRUE, FALSE, "stands only under the published protocol"),
        (FALSE, TRUE, "stands only under a sound protocol"),
        (FALSE, FALSE, "does not stand"),
        (OPEN, FALSE, "open"),
        (TRUE, OPEN, "open"),
        (Finding(None, "", ["a run"]), FALSE, "not measured"),
    ],
)
def test_overall(as_published, sound, verdict):
    assert overall({"published": as_published, "sound": sound}) == verdict
    if as_published is OPEN:  # a claim on the controlled comparison
        assert overall({"sound": sound}) == "does not stand"


def verdict_of(results, words):
    (claim,) = [claim for claim in CLAIMS if words in claim.quote]
    return claim.verdict([results])


def test_verdicts_follow_the_rows(tmp_path):
    """The best net wins under the published protocol alone."""

    def percent(name, protocol, attack, eps):
        gap = 10 if protocol == "published" else -10
        return 30.0 + gap * (NETS[name] == "parallel_rs")

    found = verdict_of(Known(tmp_path, percent), "significantly outperform")
    assert found.verdict == "stands only under the published protocol, at full size"
    assert (found.published, found.sound) == ("holds", "does not hold")
    found = verdict_of(known(tmp_path, parallel_rs=40), "significantly outperform")
    assert found.verdict == "stands, at full size"
    found = verdict_of(StudyResults(tmp_path), "significantly outperform")
    assert found.verdict == found.sound == "not measured"
    assert "`python -m study run --size full`" in found.evidence


def test_the_largest_size_that_decides_is_used(tmp_path):
    (claim,) = [x for x in CLAIMS if "significantly outperform" in x.quote]
    empty = StudyResults(tmp_path)

    def reduced(gap):
        def values(name, *_):
            return 30.0 + gap * (NETS[name] == "parallel_rs")

        return Known(tmp_path, values, REDUCED)

    found = claim.verdict([empty, reduced(5)])
    assert found.verdict == "stands, at reduced size"
    assert "cifar100-10" in found.evidence  # which that size has not
    whole = known(tmp_path, parallel_rs=20)
    found = claim.verdict([whole, reduced(5)])
    assert found.verdict == "does not stand, at full size"
    assert claim.verdict([empty, reduced(0.5)]).kind == "open"


def test_nets_of_twelve_epochs_judge_the_controlled_comparison(tmp_path):
    rows = io.read_rows(ROOT / "results" / "cifar10_10_layers.jsonl")
    nets = {row["identity"]["run"]["model"] for row in rows}
    (claim,) = [x for x in CLAIMS if "all else equal" in x.quote]
    gpu12 = Gpu12(ROOT / "results" / "cifar10_10_layers.jsonl")
    assert len(nets) == 6 and gpu12.has(run_name("cifar10", 10, "weighted", "matched"))
    found = claim.verdict([StudyResults(tmp_path), gpu12])
    assert found.verdict == "does not stand, at gpu12 size"
    assert "parallel_scale-matched" in found.evidence  # is not among them
    base = gpu12.curve(run_name("cifar10", 10, "baseline", "matched"), "sound", "none")
    values = [
        row["value"]
        for row in rows
        if row["identity"]["run"]["model"] == "baseline"
        and row["identity"]["measurement"]["attack"] == "none"
        and row["identity"]["images"]["n"] == 1_000
    ]
    assert sorted(base.values[:, 0]) == pytest.approx(sorted(100 * x for x in values))


@pytest.mark.parametrize("trained, verdict", [(30.5, "stands"), (35, "does not stand")])
def test_pgd_is_competitive_unless_it_is_below(tmp_path, trained, verdict):
    def percent(name, *_):
        return trained if name == f"{BASE}-pgd" else 30.0

    found = verdict_of(Known(tmp_path, percent), "competitive PGD")
    assert found.verdict == f"{verdict}, at full size"


def test_facts_do_not_wait_for_rows(tmp_path):
    found = verdict_of(StudyResults(tmp_path), "without requiring adversarial training")
    assert found.verdict == "does not stand" and "FGSM examples" in found.evidence
    found = verdict_of(StudyResults(tmp_path), "enforce rotation equivariance")
    assert found.verdict == "stands" and "logits are not invariant" in found.evidence
    found = verdict_of(known(tmp_path, parallel_rs=90), "remained the most robust")
    assert found.verdict == "does not stand"  # by the paper's own figure


def test_standard_deviations_are_judged_by_the_largest(tmp_path):
    class Spread(Known):
        def curve(self, *call):
            found = super().curve(*call)
            noise = np.array([-2, -1, 0, 1, 2])[:, None] * self.noise
            return found and dataclasses.replace(found, values=found.values + noise)

    results = Spread(tmp_path, lambda *_: 30.0)
    for noise, holds in ((0.4, True), (0.6, False), (0.7, False)):
        results.noise = noise  # the standard deviation is 1.58 times as large
        assert spread(results, "sound").holds is holds


def test_the_papers_own_numbers_are_compared():
    names = [run_name("cifar100", 4, net) for net in ("parallel_rs", "parallel_rot")]
    text = printed("figure 1", *names)
    assert "fgsm above at 3 of 14 epsilons" in text
    assert "below at 0.01, 0.02, 0.03" in text
    names = [run_name("cifar10", depth, "equivariant") for depth in (10, 4)]
    text = printed("table 2", *names)
    assert "fgsm above at 4 of 4 epsilons (+6.98 to +13.31 points)" in text
    assert "cascaded 2.76 printed, 3.02 of the rows" in printed_means()


def test_all_claims_have_a_verdict_without_a_row(tmp_path):
    empty = StudyResults(tmp_path)
    kinds = {claim.verdict([empty]).kind for claim in CLAIMS}
    assert kinds == set(VERDICTS) - {"stands only under"}
    assert len({(claim.where, claim.quote) for claim in CLAIMS}) == len(CLAIMS)


def test_the_points_of_the_differences_add_up(tmp_path):
    ends = {"sound": 10.0, "switched": 25.0, "published": 60.0}
    results = Known(tmp_path, lambda name, protocol, *_: ends[protocol])
    table = tables.cumulative_ablation(results)
    place = {name: index for index, name in enumerate(table.columns)}
    for row in table.rows:
        between = row[place["sound"] + 1 : place["published protocol"]]
        points = sum(value for value in between if value is not None)
        assert row[place["sound"]] + points == row[place["published protocol"]] == 60
    of_rs = [row for row in table.rows if row[:2] == [OURS, "pgd"]]
    assert of_rs[0][place["published"]] == 64.9  # Figure 2 at 0.01
    assert of_rs[0][place["batch norm"]] is not None
    of_base = [row for row in table.rows if row[0] == BASE]
    assert all(row[place["batch norm"]] is None for row in of_base)
    single = tables.single_switch_ablation(results)
    assert {x for row in single.rows for x in row[4:]} == {None, 15.0}
    assert tables.cumulative_ablation(StudyResults(tmp_path)) is None


def test_a_published_number_is_reproduced_within_four_points(tmp_path):
    def percent(name, protocol, attack, eps):
        return (paper.percent(name, attack, eps) or 0) + 3 + 2 * (eps == 0.01)

    table = tables.reproduction(Known(tmp_path, percent))
    _, _, cells, measured, near, worst = {row[0]: row for row in table.rows}[BASE]
    assert cells == measured and near == cells - 2  # FGSM and PGD at 0.01
    assert worst == pytest.approx(5)
    assert tables.reproduction(StudyResults(tmp_path)) is None


def test_table_1_is_compared_with_pgd(tmp_path, monkeypatch):
    results = StudyResults(tmp_path)
    rows = paper.numbers()["table1_cifar10c"]["rows"]
    of_corruptions = [x for name, x in rows.items() if name not in ("mean", "std")]

    def corrupted(name, protocol, attack):
        """PGD two points above the paper, FGSM far from it; one net alone."""
        above = {"pgd": 2, "fgsm": 40}[attack] if name == BASE else np.nan
        values = {x: rows[x]["baseline"] for x in results.size.corruptions}
        columns = [0.01, 0.02, 0.03, 0.04]
        return pd.DataFrame.from_dict(values, "index", columns=columns) + above

    monkeypatch.setattr(results, "corrupted", corrupted)
    found = {row[0]: row[2:] for row in tables.reproduction(results).rows}
    cells, measured, near, worst = found[f"{BASE}, CIFAR-10-C"]
    assert cells == measured == near > 10 and worst == pytest.approx(2)
    assert list(found) == [f"{BASE}, CIFAR-10-C"]
    means = tables.table_1_means(results, BASE, "published")
    assert means is not None and means.shape == (19, 1, 4)  # PGD alone
    lines = {(row[0], row[1]): row[2:] for row in tables.table_1(results).rows}
    assert lines["brightness", "published"][0] == 14.79
    assert lines["brightness", "ours, pgd"][0] == pytest.approx(16.79)
    mean = lines["mean", "published, computed from the rows"]
    assert mean[0] == pytest.approx(np.mean([x["baseline"][0] for x in of_corruptions]))
    assert all(len(line) == 4 for line in lines.values())  # of the only net with rows


def test_twelve_epochs_are_compared_over_seeds(tmp_path, monkeypatch):
    values = {
        "baseline": (0.50, 0.52, 0.51),
        "weighted": (0.30, 0.31, 0.32),
        "cascaded": (0.40, 0.50, 0.60),
    }
    common = {"attack": "pgd", "eps": 2 / 255}
    rows = [
        {"run": run_name("cifar10", 10, net, "matched"), "seed": seed, "value": x}
        | common
        for net, of_net in values.items()
        for seed, x in enumerate(of_net)
    ]
    results = Gpu12(tmp_path / "rows.jsonl")
    monkeypatch.setitem(results.__dict__, "frame", pd.DataFrame(rows))
    lines = {line[1]: line for line in provenance.gpu12(results).rows}
    assert lines["weighted"][:2] == ["PGD-40 2/255", "weighted"]
    assert lines["weighted"][2:4] == pytest.approx([51, 31])
    weighted = lines["weighted"][-1]  # sd 1 of three seeds: t(4) * sqrt(2 / 3)
    assert (
        weighted == f"-20.00 (-{20 + 2.776 * 0.8165:.2f} to -{20 - 2.776 * 0.8165:.2f})"
    )
    assert "to +" in lines["cascaded"][-1]


def test_parity_has_a_line_per_net_type_and_attack():
    rows = provenance.read_parity(ROOT / "results/study")
    table = provenance.parity(rows)
    assert [x[0] for x in table.rows[:4]] == [list(MODELS)[0]] * 4
    assert len(table.rows) == 2 * len(rows)
    text = provenance.parity_sentence(rows)
    assert text.startswith("With the weights of 6 published PyTorch nets, our logits")
    made = {"net": "x", "logits": {"evaluation": 3e-6}}
    cells = [{"published": 0.5, "ours": 0.5}, {"published": 0.5, "ours": 0.25}]
    text = provenance.parity_sentence([made | {"attacks": cells}])
    assert "1 published" in text and "3e-06" in text and "in 1 of 2" in text


@pytest.mark.slow
def test_build_writes_everything_from_nothing(tmp_path):
    out = tmp_path / "docs"
    written = build.build(tmp_path / "results" / "study", out)
    assert {path.name for path in written} == {"paper.md", "report.html"}
    text = (out / "paper.md").read_text()
    verdicts = ("not measured", "does not stand", "stands", "open")
    assert sum(text.count(f"**{x}**") for x in verdicts) == len(CLAIMS)
    absent = text[text.index("Not measured yet") : text.index("Published protocol:")]
    names = {*tables.TABLES, *figures.FIGURES}
    assert all(name in absent for name in names)
    assert "python -m study run --size reduced" in text
    assert not list(out.rglob("*.partial*"))


@pytest.mark.slow
def test_the_committed_page_is_built_from_the_committed_rows(tmp_path):
    build.build(ROOT / "results" / "study", tmp_path)
    page = (tmp_path / "paper.md").read_text()
    assert (ROOT / "docs" / "paper.md").read_text() == page, (
        "run `python -m study build`"
    )


def test_the_answer_counts_the_verdicts():
    words = ["stands, at full size", "does not stand", "does not stand", "open", "open"]
    verdicts = [
        Verdict(f"claim {i}", f"place {i}", "", "", x) for i, x in enumerate(words)
    ]
    assert build.answer(verdicts) == (
        "Of 5 claims 1 stands, 2 do not stand and 2 are open. Stand: "
        '"claim 0" (place 0). Do not stand: "claim 1" (place 1); "claim 2" (place 2).'
    )


def test_accuracies_are_of_the_least_and_the_most_robust_net(tmp_path):
    def percent(name, protocol, attack, eps):
        return {"parallel_rot": 40.0, "weighted": 10.0}.get(NETS[name], 20.0 + eps)

    first, second = build.sentences(Known(tmp_path, percent, REDUCED))
    assert first.startswith("Of the 4-layer nets for CIFAR-10, in the reduced size")
    assert (
        "from 10.0 % (Weighted GCNN (R & S)) to 40.0 % (Parallel GCNN) at 2/255 under "
        "the sound protocol"
    ) in second
    assert build.sentences(StudyResults(tmp_path, REDUCED)) is None
