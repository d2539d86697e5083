"""The roofline and the experts' curves show what they are given."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from lmlab.figures import cost


@pytest.fixture(autouse=True)
def closes_figures():
    yield
    plt.close("all")


def test_the_roofline_holds_the_given_points_under_its_roofs():
    points = pd.DataFrame(
        [("gpt-oss-120b", "writing", 2.0, 4e12), ("gpt-oss-120b", "reading", 900.0, 9e14)],
        columns=["model", "phase", "intensity", "flops_per_second"],
    )
    axes = cost.roofline(points, 2e12, {"BF16": 1e15, "FP8": 2e15}, "t", "a message").axes[0]
    slope, *roofs, writing, reading = [line for line in axes.lines if line.get_linestyle() != ":"]
    (x0, x1), (y0, y1) = slope.get_data()
    assert (y0 / x0, y1 / x1) == (pytest.approx(2), pytest.approx(2)) and x1 == 1000, "2 TB/s, up to the highest peak"
    assert [list(roof.get_ydata()) for roof in roofs] == [[1000, 1000], [2000, 2000]]
    assert [roof.get_xdata()[0] for roof in roofs] == [500, 1000]
    assert [tuple(map(float, (*mark.get_xdata(), *mark.get_ydata()))) for mark in (writing, reading)] == [
        (2, 4),
        (900, 900),
    ]
    assert writing.get_markerfacecolor() == writing.get_markeredgecolor() != reading.get_markerfacecolor() == "white"
    assert {"BF16: 1,000 TFLOP/s", "FP8: 2,000 TFLOP/s", "a message"} <= {text.get_text() for text in axes.texts}


def test_equal_curves_of_touched_experts_both_show():
    curves = pd.DataFrame({"gpt-oss-120b": [3.1, 6.2], "deepseek-v3": [3.1, 6.2]}, index=[1, 2])
    below, above = cost.touched(curves).axes[0].lines
    assert list(below.get_ydata()) == list(above.get_ydata()) == [3.1, 6.2]
    assert below.get_linewidth() > above.get_linewidth() + 2
