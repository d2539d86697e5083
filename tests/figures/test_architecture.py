"""The stills of a model's parts: boxes hold their rows, areas are parameters, wherever a part stands."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from lmlab.figures import architecture
from lmlab.figures.theme import pale


@pytest.fixture(autouse=True)
def closes_figures():
    yield
    plt.close("all")


def table(rows):
    columns = ["path", "parent", "title", "copies", "parameters", "active"]
    return pd.DataFrame(rows, columns=columns).set_index("path")


SMALL = table(
    [
        ("model", "", "a", 1, 100, 60),
        ("embed_tokens", "model", "embed_tokens", 1, 20, 20),
        ("block", "model", "block", 4, 80, 40),
        ("block.self_attn", "block", "self_attn", 1, 28, 28),
        ("block.mlp", "block", "mlp", 1, 52, 12),
        ("block.core", "block", "core", 1, 0, 0),
    ]
)
LARGE = SMALL.assign(parameters=SMALL["parameters"] * 400, active=SMALL["active"] * 400)
OPENED = ["model", "block"]


def test_parts_are_seen_when_all_above_them_are_open():
    assert architecture.visible(SMALL, []) == ["model"]
    assert architecture.visible(SMALL, ["model"]) == ["model", "embed_tokens", "block"]
    assert architecture.visible(SMALL, ["block"]) == ["model"]
    assert architecture.visible(SMALL, OPENED) == list(SMALL.index)


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (3, 1, 0.2, 5), (0, 0, 7, 0.5)])
def test_tiles_fill_the_box_and_have_the_areas_asked_for(box):
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 40):
        values = sorted(rng.exponential(size=n) ** 3 + 1e-6, reverse=True)
        found = architecture.tiles(values, box)
        areas = np.array([width * height for _, _, width, height in found])
        assert areas == pytest.approx(np.array(values) * box[2] * box[3] / sum(values))
        for i, (x, y, width, height) in enumerate(found):
            assert box[0] - 1e-9 <= x and x + width <= box[0] + box[2] + 1e-9
            assert box[1] - 1e-9 <= y and y + height <= box[1] + box[3] + 1e-9
            for ox, oy, other_width, other_height in found[:i]:
                apart = [ox + other_width - x, x + width - ox, oy + other_height - y, y + height - oy]
                assert min(apart) <= 1e-9, "no two overlap"


def test_equal_tiles_are_nearly_square():
    assert all(max(w / h, h / w) < 2 for _, _, w, h in architecture.tiles([1.0] * 12, (0, 0, 1, 1)))


def test_areas_are_parameters_within_their_parents():
    found = architecture.areas(SMALL)
    assert found["model"] == (0, 0, 1, 1) and "block.core" not in found
    for path, (x, y, width, height) in found.items():
        assert width * height == pytest.approx(SMALL.at[path, "parameters"] / 100)
        if path != "model":
            ox, oy, other_width, other_height = found[SMALL.at[path, "parent"]]
            assert ox - 1e-9 <= x and x + width <= ox + other_width + 1e-9
            assert oy - 1e-9 <= y and y + height <= oy + other_height + 1e-9


def test_boxes_say_title_copies_number_and_what_differs():
    marks = {"b": {"embed_tokens": "only", "block": "other", "model": "same"}}
    figure = architecture.boxes({"a": SMALL, "b": LARGE}, OPENED, marks, message="one is larger")
    left, right = figure.axes
    said = [text.get_text() for text in left.texts]
    rows = [
        ("a", "100"),
        ("embed_tokens", "20"),
        ("4 x block", "80"),
        ("self_attn", "28"),
        ("mlp", "52"),
        ("core", "-"),
    ]
    assert said == [word for row in rows for word in row] + ["one is larger"]
    said = [text.get_text() for text in right.texts]
    assert said[:6] == ["a", "40 K", "+ embed_tokens", "8 K", "\u2260 4 x block", "32 K"]
    assert [patch.get_linestyle() == "--" for patch in right.patches] == [False, True, False, False, False, False]
    red = to_rgba(architecture.RED)
    assert [patch.get_edgecolor() == red for patch in right.patches] == [False, True, True, False, False, False]
    outer, inner = left.patches[2], left.patches[4]
    assert outer.get_y() < inner.get_y() and inner.get_y() + inner.get_height() < outer.get_y() + outer.get_height()
    assert left.patches[3].get_facecolor() == to_rgba(pale(architecture.BLUE)), "attention"
    assert left.get_title("left") == "a"


def test_to_scale_squares_are_as_the_models():
    figure = architecture.to_scale({"a": SMALL, "b": LARGE}, OPENED)
    tiles = [patch.get_width() * patch.get_height() for patch in figure.axes[0].patches]
    pale, solid = tiles[0::3], tiles[1::3]
    wanted = [20, 28, 52, 8000, 11200, 20800]
    assert pale == pytest.approx([n / 40_000 for n in wanted])
    assert solid == pytest.approx([n / 40_000 for n in (20, 28, 12, 8000, 11200, 4800)])
    assert {text.get_text() for text in figure.axes[0].texts} >= {"a\n100", "b\n40 K"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("block 1.self_attn.q_norm", "attention"),
        ("block.mlp.router", "MLP"),
        ("mtp.block.mlp", "MTP"),
        ("lm_head", "embedding"),
        ("block.input_layernorm", "norm"),
        ("repeat", "layers"),
    ],
)
def test_a_part_has_the_colour_of_what_it_belongs_to(path, kind):
    assert architecture.kind(path) == kind
    assert kind in architecture.KINDS


def test_numbers_are_short():
    assert [architecture.short(n) for n in (116_829_156_672, 2_880, 64, 671e9, 1.5e12, 0)] == [
        *("116.8 B", "2.88 K", "64", "671 B", "1.5 T", "0")
    ]
