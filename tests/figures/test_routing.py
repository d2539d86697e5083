"""What is drawn of routing is what went in: cells, bars with their even line, numbers, curves and their mean."""

import numpy as np
import pandas as pd
import pytest

from lmlab.figures import routing


def test_heatmaps_hold_the_weights_and_the_loads():
    one, two = np.array([[0.7, 0.0, 1.0], [0.3, 1.0, 0.0]]), np.array([[2.5, 0.0, 0.5], [0.0, 2.5, 2.0]])
    loads = {"one": [1.2, 0.8], "two": [2.6, 0.4]}
    figure = routing.heatmaps({"one": one, "two": two}, loads, ["a", "b", "c"], message="said")
    bars, cells, more_bars, more_cells = figure.axes[:4]
    assert np.array_equal(cells.images[0].get_array(), one) and np.array_equal(more_cells.images[0].get_array(), two)
    assert [bar.get_width() for bar in bars.patches] == [1.2, 0.8] and bars.lines[0].get_xdata() == [1, 1]
    assert [bar.get_width() for bar in more_bars.patches] == [2.6, 0.4] and more_bars.get_xlim() == (0, 2.6)
    assert [bar.get_y() + bar.get_height() / 2 for bar in bars.patches] == pytest.approx([0, 1]), "beside its row"
    assert bars.get_ylim() == cells.get_ylim() and [t.get_text() for t in more_cells.get_xticklabels()] == [*"abc"]
    assert (cells.get_title("left"), more_cells.get_title("left")) == ("one", "two")
    assert cells.images[0].get_clim() == (0, 1) and more_cells.images[0].get_clim() == (0, 2.5)
    assert [text.get_text() for text in more_bars.texts] == ["said"]


def test_readers_are_numbers_on_shades():
    table = pd.DataFrame([[0.1, 1.9], [1.0, 1.0]], index=["story", "code"])
    axes = routing.readers(table, "who reads what").axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.1", "1.9", "1.0", "1.0"]
    assert [text.get_color() for text in axes.texts] == ["white", "black", "black", "black"]
    assert np.array_equal(axes.images[0].get_array(), table) and axes.get_title("left") == "who reads what"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["story", "code"]


def test_balancing_shows_each_seed_and_their_mean():
    curves = {
        "GPT-OSS": {
            "balanced": [[(100, 1.2), (200, 1.1)], [(100, 1.4), (200, 1.3)]],
            "unbalanced": [[(100, 1.8), (200, 1.6)]],
        },
        "Qwen3": {"balanced": [[(100, 1.0), (200, 1.0)]]},
    }
    axes, other = routing.balancing(curves, message="even").axes
    drawn = [[round(y, 9) for y in line.get_ydata()] for line in axes.lines]
    assert drawn == [[1.2, 1.1], [1.4, 1.3], [1.3, 1.2], [1.8, 1.6], [1.8, 1.6], [1, 1]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["balanced", "unbalanced"]
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines[:-1]}
    assert len(looks) == 2 and len({dash for _, dash in looks}) == 2, "told apart without colour"
    assert len(other.lines) == 3 and [text.get_text() for text in axes.texts] == ["even"]
