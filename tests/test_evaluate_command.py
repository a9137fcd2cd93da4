"""The command that evaluates a run, in this process, on the shared tiny run."""

import dataclasses
import json
import re
import shlex
import shutil

import numpy as np
import pytest
from absl import flags

from symjax import (
    command,
    evaluate_command,
    evaluate_flags,
    evaluation,
    interruption,
)
from symjax.attacks import sanity
from symjax.evaluate_flags import parse_eps
from symjax.evaluation import metrics, results
from symjax.evaluation.metrics.base import Metric, MetricResult
from tests.paths import ROOT

FLAGS = flags.FLAGS
DOCS = sorted((ROOT / "docs").glob("*.md"))


def main():
    """The command after its flags are parsed."""
    evaluate_flags.check()
    return evaluate_command.main()


@pytest.fixture
def parse():
    """`parse("--attack=pgd")` sets the flags; they are gone after the test."""
    before = set(FLAGS)
    evaluate_flags.define()
    yield lambda *given: FLAGS(["evaluate.py", *given])
    for name in set(FLAGS) - before:
        delattr(FLAGS, name)


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the shared run; its name is that of the run's rows."""
    return shutil.copytree(trained.folder, tmp_path / "tiny")


@pytest.fixture(scope="module")
def opened(trained):
    """The shared run, opened once, so that its programs are compiled once."""
    return evaluation.Run.open(trained.folder)


@pytest.fixture
def evaluate(parse, folder, opened, capsys, monkeypatch):
    """`evaluate("--attack=pgd")`: exit code, output and errors."""
    run = dataclasses.replace(opened, folder=folder)
    monkeypatch.setattr(evaluation.Run, "open", lambda *_: run)

    def call(*given):
        parse(f"--run={folder}", "--n=30", *given)
        code = main()
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def rows_of(folder, **wanted):
    found = results.read([folder / "results.jsonl"])
    return [row for row in found if all(row[k] == v for k, v in wanted.items())]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1/255,8/255", [1 / 255, 8 / 255]),
        ("0.25, 0.5,1", [0.25, 0.5, 1.0]),
        ("0", [0.0]),
        ("1e-2", [0.01]),
    ],
)
def test_radii_are_numbers_and_fractions(text, expected):
    assert parse_eps(text) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    "text", ["abc", "", "1/0", "0.1,,0.2", "-1/255", "nan", "1e400", "inf"]
)
def test_other_radii_are_errors_that_show_them(text):
    with pytest.raises(ValueError, match="--eps="):
        parse_eps(text)


@pytest.mark.parametrize(
    "given",
    [
        *("--n=-1", "--steps=-1", "--n_restarts=0", "--batch_size=0", "--n_queries=-5"),
        *("--n_target_classes=0", "--step_size=0", "--step_size=nan"),
        *("--step_size=10000000", "--samples=-1", "--seeds=-1", "--radius=-1"),
        *("--batches=0", "--corruption_seed=-1", "--steps=4294967296"),
    ],
)
def test_values_that_cannot_be_are_refused_before_anything_is_loaded(
    parse, given, monkeypatch
):
    monkeypatch.setattr(evaluation, "Run", None)  # would fail if it were opened
    parse("--attack=pgd", given)
    name, value = given.split("=")
    with pytest.raises(
        ValueError, match=rf"^{name} {re.escape(value)}[\d.]*: expected .*$"
    ):
        main()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--attack=fab", "--n_restarts=5"], "--n_restarts has no effect on --attack"),
        (["--attack=fgsm", "--steps=3"], "--steps has no effect on --attack fgsm"),
        (["--attack=pgd", "--seeds=1"], "--seeds has no effect on --attack pgd"),
        (["--metric=clever", "--eps=1"], "--eps has no effect on --metric clever"),
        (["--audit", "--norandom_start"], "--random_start has no effect on --audit"),
        (["--audit", "--force"], "--force has no effect on --audit"),
        (["--audit", "--eps=0.1,0.2"], "expected one radius with --audit"),
        (["--audit", "--attack=pgd"], "expected one of them"),
        (["--metric=clever", "--n_restarts=2"], "metric 'clever' takes"),
        (["--metric=symmetry", "--only=x"], "expected the beginning of one of"),
        (["--metric=corruption", "--only=x"], "expected the beginning of one of"),
        (["--protocol=published", "--norm=l2"], "l2: expected linf, the norm of the"),
        (["--switches=clip range"], "--switches needs --protocol published"),
        (
            ["--protocol=published", "--attack=pgd", "--switches=clip"],
            "switch 'clip': expected one of .* did you mean 'clip range'",
        ),
    ],
)
def test_flags_that_do_not_go_together(parse, given, message, monkeypatch):
    monkeypatch.setattr(evaluation, "Run", None)
    parse(*given)
    with pytest.raises(ValueError, match=message):
        main()


def commands():
    """What the documents tell to call, without what is optional."""
    for path in (ROOT / "README.md", ROOT / "results/README.md", *DOCS):
        text = path.read_text().replace("\\\n", " ")
        for line in re.findall(r"python evaluate\.py([^`\n]*)", text):
            yield shlex.split(re.sub(r"\[.*?\]", "", line), comments=True)


def test_the_documents_name_flags_that_are_taken(parse):
    found = [given for given in commands() if given != ["--help"]]
    assert len(found) > 30 and ["--audit", "--eps", "8/255"] in found
    for given in found:
        for name in FLAGS:
            FLAGS[name].unparse()
            FLAGS[name].present = 0
        assert parse(*given) == ["evaluate.py"], given
        evaluate_flags.check()
        evaluate_flags.radii()


def test_more_seeds_than_the_run_has(evaluate):
    with pytest.raises(ValueError, match=r"seeds=99: expected 0 \(all\) to 2"):
        evaluate("--metric=symmetry", "--seeds=99")


def test_names_as_people_spell_them(parse):
    parse("--attack=Auto-Attack", "--norm=L2", "--protocol=Sound", "--loss=CE")
    asked = FLAGS.attack, FLAGS.norm, FLAGS.protocol, FLAGS.loss
    assert asked == ("autoattack", "l2", "sound", "cross_entropy")
    with pytest.raises(flags.Error, match="did you mean 'tolerance'"):
        parse("--metric=tolerence")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--attack=pgd"], "the rows measured so far are in {}/results.jsonl"),
        (["--force"], "{}/results.jsonl, and --force measures them again"),
        (["--audit"], "an unfinished audit is not saved"),
    ],
)
def test_an_interruption_tells_what_is_kept(parse, folder, given, kept, monkeypatch):
    signals = interruption.Signals()
    monkeypatch.setattr(command, "signals", lambda: signals)
    parse(f"--run={folder}", *given)
    assert evaluate_command._folder() == folder
    assert f"{kept.format(folder)}. To go on: " in signals.line(2)


def test_every_flag_has_a_sentence(parse):
    names = [name for group in evaluate_flags.GROUPS.values() for name in group]
    shared = evaluate_flags.GROUPS["Several processes"] + ["traceback"]
    for name in set(names) - set(shared):
        assert re.match(r"(<.*>: )?[A-Z].*\.$", FLAGS[name].help), name
    own = {flag.name for flag in FLAGS.flags_by_module_dict()[evaluate_flags.__name__]}
    assert own == set(names) - set(shared)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        (["--eps=8"], ["--eps 8 is more than", "did you mean 8/255?", "eps=8.0"]),
        (["--eps=17", "--norm=l2"], ["differ by in l2, 16;", "did you mean 17/255?"]),
        (["--eps=3", "--eps_unit=normalized"], ["1.5 in pixel units", "mean 3/255?"]),
        (["--eps=0.5"], []),
        (["--eps=15.9", "--norm=l2"], []),
    ],
)
def test_a_radius_that_holds_every_image_is_a_warning(evaluate, given, texts):
    code, out, err = evaluate("--attack=fgsm", *given)
    assert code == 0 and "fgsm" in out
    assert err.count("warning:") == err.count("\n") == bool(texts)
    for text in texts:
        assert text in err


def test_the_audit_warns_too_and_a_failed_audit_is_an_exit_code(evaluate, monkeypatch):
    def audit(run, threat, report, **options):
        report("one")
        report("two")
        assert options["n"] == 30
        return [
            sanity.Check("one", "one", True, 0.0, "<= 1", "source", "detail"),
            sanity.Check(
                "two", "two", passed, 0.5, "<= 0.1", "source", "x", "Do [this]."
            ),
        ]

    monkeypatch.setattr(evaluation, "audit", audit)
    published = lambda run, name, eps, **options: audit(run, eps, **options)  # noqa: E731
    monkeypatch.setattr(evaluation, "audit_published", published)
    for passed in (True, None, False):
        code, out, err = evaluate("--audit", "--eps=8")
        assert code == (passed is False)
        assert ("FAILED: two" in out) == ("Do [this]." in out and passed is False)
        assert "necessary" in out and "one: 1 of 21, " in out
        assert err.count("did you mean 8/255?") == 1 and "--remove" not in err
    *_, err = evaluate("--audit", "--eps=3", "--protocol=published")
    assert "1.5 in pixel units" in err and "did you mean 3/255?" in err


def test_more_images_than_there_are(evaluate, monkeypatch):
    code, out, err = evaluate("--n=1000")
    assert code == 0 and "360 test images" in out
    assert err == (
        "warning: --n 1000: digits has 360 test images; all of them are measured.\n"
    )


def test_what_is_forced_is_measured_again_and_supersedes(evaluate, folder):
    first = evaluate("--attack=fgsm", "--eps=0.1")
    path = folder / "results.jsonl"
    text = path.read_text()
    assert evaluate("--attack=fgsm", "--eps=0.1")[0] == 0 and path.read_text() == text
    wrong = re.sub(r'"value": [\d.]+', '"value": 1.0', text)  # as of an old fault
    path.write_text(wrong)
    assert evaluate("--attack=fgsm", "--eps=0.1")[1].count("100.00 ± 0.00") == 2
    code, out, _ = evaluate("--attack=fgsm", "--eps=0.1", "--force")
    table = re.compile(r"│.*│")
    assert code == 0 and table.findall(out) == table.findall(first[1])
    assert path.read_text().startswith(wrong)
    found = rows_of(folder)
    assert len(found) == 4 and all(row["supersedes"] for row in found)
    assert [r["value"] for r in found] == [
        json.loads(x)["value"] for x in text.split("\n")[:4]
    ]


@pytest.fixture
def quick(monkeypatch):
    """A metric that nothing is compiled for."""
    found = MetricResult(0.5, {"value": np.full(30, 0.5)})
    lemma = Metric({"metric": "lemma_1"}, lambda subject: found)
    monkeypatch.setattr(metrics, "build", lambda *_, **__: [lemma])


@pytest.mark.parametrize("metric", [[], ["--metric=symmetry"]])
def test_a_folder_that_cannot_be_written_is_measured_and_shown(
    evaluate, folder, monkeypatch, metric, quick
):
    def read_only(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(results.Results, "_save", read_only)
    with pytest.warns(UserWarning, match="rows are returned and not saved") as warned:
        code, out, _ = evaluate(*(metric or ["--attack=fgsm", "--eps=0.1"]))
    assert code == 1 and len(warned) == 1
    assert "NOT SAVED" in out and "Permission denied" in out
    assert ("lemma 1" if metric else "fgsm") in out
    assert not rows_of(folder)


def test_diverged_seeds_are_named(evaluate, monkeypatch, quick):
    lost = property(lambda run: np.array([True, False]))
    monkeypatch.setattr(evaluation.Run, "diverged", lost)
    _, out, _ = evaluate("--metric=symmetry")
    assert "seeds left out because they diverged: 0" in out
    monkeypatch.setattr(
        evaluation.Run, "diverged", property(lambda run: np.ones(2, bool))
    )
    with pytest.raises(ValueError, match="every seed of .* diverged"):
        evaluate("--metric=symmetry")
