"""Radii, names and numbers for people, and the Markdown table."""

import numpy as np
import pytest

from symjax.evaluation.titles import metric_name
from symjax.formatting import format_eps, markdown, mean_and_sd_text


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (format_eps, 8 / 255, "8/255"),
        (format_eps, 0.0, "0"),
        (format_eps, 0.005, "0.005"),
        (format_eps, (1 / 255, 0.1), "(1/255, 0.1)"),
        (mean_and_sd_text, [50, 70], "60.00 ± 14.14"),
        (mean_and_sd_text, [50], "50.00"),
        (mean_and_sd_text, [np.nan, 1.0], "nan"),
    ],
)
def test_values_as_text(function, value, text):
    assert function(value) == text


def test_a_metric_is_named_by_the_settings_that_distinguish_it():
    row = {"metric": "clever", "norm": "l2", "sigma": None, "orbit": "C4", "n": 3}
    assert metric_name(row) == "clever, l2"
    assert metric_name(row | {"orbit": "D4"}) == "clever, l2, under D4"


def test_a_table_in_markdown():
    text = markdown(["net", "|grad|"], [["a", "1"], iter(["b", "2 | 3"])])
    assert text == "| net | \\|grad\\| |\n| --- | --- |\n| a | 1 |\n| b | 2 \\| 3 |\n"
    assert markdown(["net"], []) == "| net |\n| --- |\n"
