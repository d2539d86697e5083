"""The still of a model's heads shows the numbers it is given, and where a token cannot look it shows nothing."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lmlab.figures.attention import heads_and_map

OVERVIEW = pd.DataFrame([[0.5, 4.0, 2.25], [1.0, 8.0, 3.0]])
TOKENS = ["a", "b", "c", "d", "e"]
WEIGHTS = np.tril(np.arange(25, dtype=float).reshape(5, 5) + 1)
WEIGHTS /= 1.25 * WEIGHTS.sum(-1, keepdims=True)
SINKS = 1 - WEIGHTS.sum(-1)
GIVEN = {"chosen": (1, 2), "key_heads": (0, 0, 1), "of": "tokens it looks back"}


@pytest.fixture(autouse=True)
def closes_figures():
    yield
    plt.close("all")


def test_each_head_has_its_number_and_the_chosen_one_a_frame():
    figure = heads_and_map(OVERVIEW, WEIGHTS, TOKENS, **GIVEN, title="t", message="a message")
    left, right, _ = figure.axes
    texts = {tuple(map(int, text.get_position())): text.get_text() for text in left.texts if "." in text.get_text()}
    assert texts == {(0, 0): "0.5", (1, 0): "4.0", (2, 0): "2.2", (0, 1): "1.0", (1, 1): "8.0", (2, 1): "3.0"}
    assert np.array_equal(left.images[0].get_array(), OVERVIEW)
    (frame,) = left.patches
    assert frame.get_xy() == (1.5, 0.5)
    (line,) = left.lines
    assert list(line.get_xdata()) == [1.5, 1.5], "between the heads that do not share keys"
    assert "a message" in {text.get_text() for text in figure.texts}
    assert right.get_title(loc="left") == "layer 1, head 2: weights"


def test_rows_are_queries_and_nothing_is_drawn_where_none_can_look():
    right = heads_and_map(OVERVIEW, WEIGHTS, TOKENS, **GIVEN, sinks=SINKS, window=3).axes[1]
    shown = np.ma.filled(right.images[0].get_array(), np.nan)
    seen = np.tril(np.ones((5, 5), bool)) & ~np.tril(np.ones((5, 5), bool), -3)
    assert np.array_equal(np.isfinite(shown), seen)
    assert np.array_equal(shown[seen], WEIGHTS[seen])
    assert np.array_equal(right.images[1].get_array()[:, 0], SINKS)
    (edge,) = right.lines
    assert list(zip(edge.get_xdata(), edge.get_ydata(), strict=True)) == [
        (-0.5, 2.5),
        (0.5, 2.5),
        (0.5, 3.5),
        (1.5, 3.5),
    ]
    assert [label.get_text() for label in right.get_yticklabels()] == TOKENS
    bottom, top = right.get_ylim()
    assert bottom > top, "the first query stands above"


def test_without_a_window_or_sinks_there_is_no_edge_and_no_column():
    right = heads_and_map(OVERVIEW, WEIGHTS, TOKENS, **GIVEN).axes[1]
    assert len(right.images) == 1 and not right.lines
    shown = np.ma.filled(right.images[0].get_array(), np.nan)
    assert np.array_equal(np.isfinite(shown), np.tril(np.ones((5, 5), bool)))
