"""Figures show what they are given, in words that can be read aloud, and import no model code."""

import base64
import re
from itertools import pairwise

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from lmlab.figures import generation, memory, mla, residual, rope, sizes, theme, training


@pytest.fixture(autouse=True)
def closes_figures():
    yield
    plt.close("all")


CACHE = pd.DataFrame(
    {"gpt-oss-120b": [1e9, 2e9], "qwen3-8b": [3e9, 6e9], "deepseek-v3": [2e9, 4.1e9]},
    index=pd.Index([1024, 2048], name="tokens"),
)


def test_lines_hold_the_given_bytes_in_gigabytes():
    axes = memory.cache_by_length(CACHE, "a message").axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [[1, 2], [3, 6], [2, 4.1]]
    assert all(list(line.get_xdata()) == [1024, 2048] for line in axes.lines)
    texts = {text.get_text() for text in axes.texts}
    assert texts == {"gpt-oss-120b  2 GB", "qwen3-8b  6 GB", "deepseek-v3  4.1 GB", "a message"}
    assert "GB" in axes.get_ylabel() and "tokens" in axes.get_xlabel()


def test_names_of_near_lines_do_not_overlap():
    near = pd.DataFrame({"qwen3-8b": [1e9, 2e9], "qwen3-4b": [1e9, 2e9], "gpt-oss-20b": [1e9, 2.05e9]}, index=[1, 2])
    figure = memory.cache_by_length(near)
    figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))


def test_bars_are_as_long_as_their_numbers():
    axes = memory.bars(pd.Series({"gpt-oss-120b": 4.8, "qwen3-8b": 25.2}), title="t").axes[0]
    assert [bar.get_width() for bar in axes.patches] == [4.8, 25.2]
    assert [text.get_text().strip() for text in axes.texts] == ["4.8 GB", "25.2 GB"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["gpt-oss-120b", "qwen3-8b"]


def test_active_parameters_lie_within_the_total():
    table = pd.DataFrame({"parameters": [117e9], "active_parameters": [5.1e9]}, index=["gpt-oss-120b"])
    axes = sizes.total_and_active(table).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [117, 5.1]


def test_families_differ_in_colour_and_mark():
    for table in (theme.FAMILY_COLOURS, theme.FAMILY_MARKERS, theme.FAMILY_HATCHES):
        assert list(table) == ["GPT-OSS", "Qwen3", "DeepSeek"] and len(set(table.values())) == 3
    assert [theme.family(name) for name in ("mini-gpt-oss", "qwen3-30b-a3b", "deepseek-v2-lite")] == list(
        theme.FAMILIES
    )
    with pytest.raises(ValueError, match="'llama' belongs to none"):
        theme.family("llama")


def test_a_still_is_a_small_picture_with_its_text():
    picture = theme.still(memory.bars(pd.Series({"qwen3-8b": 1.0}), title="t"), alt='Bars: "one" & two')
    html = picture._repr_html_()
    assert 'alt="Bars: &quot;one&quot; &amp; two"' in html and repr(picture) == 'Bars: "one" & two'
    data = re.search(r"base64,([^\"]+)", html).group(1)
    assert base64.b64decode(data).startswith(b"\x89PNG") and len(data) < 80_000
    assert not plt.get_fignums(), "the figure is closed: no second picture appears in the notebook"


def test_the_look_stays_inside():
    before = dict(plt.rcParams)
    memory.bars(pd.Series({"qwen3-8b": 1.0}), title="t")
    assert dict(plt.rcParams) == before


def test_wavelengths_tell_the_slow_hands_by_shape_too():
    table = pd.DataFrame({"wavelength": [6.3, 60.0, 900.0], "turns": [16.0, 1.7, 0.1]})
    figure = rope.wavelengths(table, 100, message="one of three")
    (axes,) = figure.axes
    fast, slow, length = axes.lines
    assert fast.get_ydata().tolist() == [6.3, 60.0] and slow.get_ydata().tolist() == [900.0]
    assert fast.get_marker() != slow.get_marker() and set(length.get_ydata()) == {100}
    assert {text.get_text() for text in axes.texts} == {"the text: 100 tokens", "one of three"}
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["2 hands that finish a turn", "1 hands that do not"]


def test_scores_by_distance_are_one_line_and_marks_upon_it():
    scores = pd.DataFrame({"10": [3.0, 2.0, 1.0], "1,000": [3.0, 2.0, 1.0]}, index=[0, 1, 2])
    figure = rope.score_by_distance(scores)
    first, second = figure.axes[0].lines
    assert first.get_linestyle() == "-" and second.get_linestyle() == "None"
    assert second.get_ydata().tolist() == [3.0, 2.0, 1.0] and first.get_marker() != second.get_marker()


def test_forms_has_a_panel_for_each_table():
    table = pd.DataFrame({"expanded": [9.0, 9.5], "absorbed": [1.0, 16.0]}, index=[1, 16])
    figure = mla.forms({"counted": table, "measured": 2 * table}, message="they cross")
    left, right = figure.axes
    assert left.get_xlabel() == right.get_xlabel() == "queries at once"
    assert {left.get_xscale(), left.get_yscale(), right.get_xscale()} == {"log"}
    assert [text.get_text() for text in left.texts] == ["they cross"]
    assert (left.get_title("left"), right.get_title("left")) == ("counted", "measured")
    assert [line.get_ydata().tolist() for line in right.lines] == [[18.0, 19.0], [2.0, 32.0]]
    assert len({line.get_marker() for line in left.lines}) == 2


def test_bars_of_the_next_token_are_its_probabilities():
    table = pd.DataFrame({"own": [0.5, 0.3], "top-p 0.4": [1.0, 0.0]}, index=['" red"', '" blue"'])
    figure = generation.next_token(table, message="one is cut")
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.3, 1.0, 0.0]
    assert len({bar.get_hatch() for bar in axes.patches}) == 2, "told apart without colour"
    assert [text.get_text().strip() for text in axes.texts] == ["50.0%", "30.0%", "100.0%", "cut", "one is cut"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ['" red"', '" blue"']


def test_cost_by_token_has_a_panel_for_each_table():
    table = pd.DataFrame({"with a cache": [9.0, 1.0], "without a cache": [9.0, 9.5]}, index=[1, 2])
    figure = generation.cost_by_token({"counted": table, "measured": 2 * table}, message="the second is cheap")
    left, right = figure.axes
    assert (left.get_title("left"), right.get_title("left"), left.get_yscale()) == ("counted", "measured", "log")
    assert {line.get_label(): line.get_ydata().tolist() for line in right.lines} == {
        "without a cache": [18.0, 19.0],
        "with a cache": [18.0, 2.0],
    }
    assert len({line.get_marker() for line in left.lines}) == 2
    assert [text.get_text() for text in left.texts] == ["the second is cheap"]


def test_a_text_in_pieces_tells_how_each_came():
    hows = ["prompt", "drawn", "accepted", "rejected", "replaced", "chosen"] * 5
    figure = generation.written([(f" word{i}", how) for i, how in enumerate(hows)], message="two ways")
    figure.canvas.draw()
    *pieces, message = figure.axes[0].texts
    assert [piece.get_text().split()[-1] for piece in pieces] == [f"word{i}" for i in range(30)]
    looks = {
        how: (piece.get_text()[0], piece.get_bbox_patch().get_linestyle())
        for piece, how in zip(pieces, hows, strict=True)
    }
    assert looks["accepted"] == ("\u2713", "-") and looks["rejected"] == ("\u2717", "--") and looks["prompt"][1] == ":"
    boxes = [piece.get_bbox_patch().get_window_extent() for piece in pieces]
    assert all(a.x1 <= b.x0 + 1 or b.y1 <= a.y0 + 1 for a, b in pairwise(boxes)), "side by side, or in the next line"
    assert max(box.x1 for box in boxes) <= figure.bbox.x1 and message.get_window_extent().y1 < boxes[-1].y0


PARTS = pd.Index(["embedding", "attention 0", "MLP 0"], name="part")


def test_a_journey_shows_lengths_directions_shares_and_the_lens():
    numbers = {"length": [1, 2, 3], "added": [1, 1.5, 2], "to_final": [0.1, 0.5, 1.0]}
    path = pd.DataFrame(numbers | {"to_embedding": [1, 0.5, 0.1], "share": [0.1, -0.2, 1.1]}, index=PARTS)
    tokens = pd.DataFrame([["a", "b"], ["b", "c"], ["b", "a"]], index=PARTS)
    probabilities = pd.DataFrame([[0.5, 0.2], [0.6, 0.1], [0.9, 0.04]], index=PARTS)
    figure = residual.journey(path, tokens, probabilities, "a title", message="b it is")
    length, direction, share, lens = figure.axes
    assert [bar.get_height() for bar in length.patches] == [1, 1.5, 2]
    assert length.lines[0].get_ydata().tolist() == [1, 2, 3]
    final, embedding = direction.lines
    assert final.get_ydata().tolist() == [0.1, 0.5, 1.0] and embedding.get_ydata().tolist() == [1, 0.5, 0.1]
    assert final.get_marker() != embedding.get_marker()
    assert [bar.get_height() for bar in share.patches] == [0.1, -0.2, 1.1]
    assert len({bar.get_facecolor() for bar in share.patches}) == 3, "embedding, attention and MLP"
    said = [text.get_text() for text in lens.texts]
    assert said == ["a", "50%", "b", "20%", "b", "60%", "c", "10%", "b", "90%", "a", "4%", "b it is"]
    assert [cell.get_linewidth() > 0 for cell in lens.patches] == [False, True, True, False, True, False]
    assert [label.get_text() for label in lens.get_xticklabels()] == list(PARTS)


def test_models_of_one_family_differ_by_dash_where_answers_appear():
    names = ["mini-gpt-oss", "mini-qwen3", "mini-qwen3-moe", "mini-deepseek-v3"]
    found = pd.DataFrame({name: [0.1, 0.2 + i / 10, 0.9] for i, name in enumerate(names)}, index=PARTS)
    guesses = {"one": 0.5, "another": 0.25}
    axes, other = residual.appearance({"one": found, "another": 1 - found}, guesses, "late").axes
    (line, said), (other_line, other_said) = [(panel.lines[-1], panel.texts[0].get_text()) for panel in (axes, other)]
    assert ({*line.get_ydata()}, {*other_line.get_ydata()}) == ({0.5}, {0.25}), "where a guess is right"
    assert (said, other_said) == ("a guess among those told: 50%", "a guess among those told: 25%")
    assert [line.get_ydata().tolist() for line in other.lines[:-1]] == [[*(1 - found[name])] for name in names]
    assert (axes.get_title("left"), other.get_title("left")) == ("one", "another")
    assert [line.get_ydata().tolist() for line in axes.lines[:-1]] == [[*found[name]] for name in names]
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axes.lines[:-1]}
    assert len(looks) == 4 and axes.texts[-1].get_text() == "late"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == names


RUNS = pd.DataFrame(
    {
        "arm": ["a", "a", "a", "a", "b", "b"],
        "seed": [0, 0, 1, 1, 0, 0],
        "tokens": [100, 200, 100, 200, 100, 200],
        "distance_all": [1.0, 0.5, 2.0, 0.7, None, 0.4],
        "distance_story": [3.0, 1.5, 2.0, 1.7, None, 0.2],
    }
)


def test_arms_are_means_over_seeds_and_each_seed_is_a_mark():
    axes = training.arms(RUNS, title="t", floor=0.25, stages={"decay": 150}, message="said").axes[0]
    marks, mean, other, one = axes.lines[:4]
    assert [*marks.get_ydata()] == [1.0, 0.5, 2.0, 0.7] and marks.get_linestyle() == "None"
    assert [*mean.get_xdata()] == [100, 200] and [*mean.get_ydata()] == [1.5, 0.6]
    assert [*other.get_ydata()] == [*one.get_ydata()] == [0.4], "where it was measured"
    assert [line.get_ydata()[0] for line in axes.lines[4:5]] == [0.25] and axes.lines[5].get_xdata()[0] == 150
    texts = {text.get_text().strip() for text in axes.texts}
    assert texts == {"the floor, 0.25", "decay", "said"}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_kinds_of_text_are_rows_with_the_mean_and_each_seed():
    ends = RUNS[RUNS.tokens == 200]
    axes = training.by_domain(ends, title="t").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all", "story"]
    found = {}
    for line in axes.lines[:-1]:
        found.setdefault(round(line.get_ydata()[0]), []).extend(line.get_xdata())
    assert found == {0: [pytest.approx(0.6), 0.5, 0.7, 0.4], 1: [pytest.approx(1.6), 1.5, 1.7, 0.2]}


def test_floors_are_bars_with_their_numbers():
    axes = training.floors(pd.Series({"story": 0.2, "all": 0.4}), title="t").axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.2, 0.4]
    assert [text.get_text().strip() for text in axes.texts] == ["0.200", "0.400"]


def test_runs_of_a_family_keep_its_colour_and_differ_by_dashes_and_hollow_marks():
    looks = training.looks(["mini-qwen3, seed 0", "mini-qwen3-moe, seed 0", "mini-gpt-oss, seed 0"])
    dense, sparse, other = looks.values()
    assert dense.colour == sparse.colour == theme.FAMILY_COLOURS["Qwen3"] and other.colour != dense.colour
    assert dense.dash != sparse.dash
    assert dense.marks(4)["markerfacecolor"] != sparse.marks(4)["markerfacecolor"]
    several = [*training.looks([f"arm {i}" for i in range(7)]).values()]
    assert len({(look.colour, look.marker, look.dash) for look in several}) == 7
