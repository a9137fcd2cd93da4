"""Radii, names and numbers for people, and the Markdown table."""

import numpy as np
import pytest

from symjax.evaluation.titles import metric_name
from symjax.formatting import format_eps, markdown, mean_and_sd_text


@pytest.mark.parametrize(
    ("eps", "text"),
    [
        (8 / 255, "8/255"),
        (0.0, "0"),
        (0.005, "0.005"),
        ((1 / 255, 0.1), "(1/255, 0.1)"),
    ],
)
def test_radii_for_people(eps, text):
    assert format_eps(eps) == text


def test_a_figure_is_named_by_the_settings_that_tell_it_from_others():
    row = {"metric": "clever", "norm": "l2", "sigma": None, "orbit": "C4", "n": 3}
    assert metric_name(row) == "clever, l2"
    assert metric_name(row | {"orbit": "D4"}) == "clever, l2, under D4"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([50, 70], "60.00 ± 14.14"),
        ([50], "50.00"),
        (np.array([1.0, 2.0, 3.0]), "2.00 ± 1.00"),
        ([np.nan, 1.0], "nan"),
    ],
)
def test_mean_and_deviation_as_text(values, text):
    assert mean_and_sd_text(values) == text


def test_a_table_in_markdown():
    text = markdown(["net", "|grad|"], [["a", "1"], iter(["b", "2 | 3"])])
    assert text == "| net | \\|grad\\| |\n| --- | --- |\n| a | 1 |\n| b | 2 \\| 3 |\n"
    assert markdown(["net"], []) == "| net |\n| --- |\n"
