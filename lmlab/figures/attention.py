"""Pictures of attention: one number for each head, and which token looks at which."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from lmlab.figures.theme import INK, ORANGE, RED, style

if TYPE_CHECKING:
    import pandas as pd

LABELS = 30  # tokens that have room for their names


def heads_and_map(
    overview: "pd.DataFrame",
    weights: np.ndarray,
    tokens: Sequence[str],
    *,
    chosen: tuple[int, int],
    key_heads: Sequence[int],
    of: str,
    form: str = "{:.1f}",
    sinks: np.ndarray | None = None,
    window: int | None = None,
    title: str = "",
    message: str = "",
) -> Figure:
    """Left, `overview`: one row per layer, one column per query head; `of` says what it holds, `form` how it is
    written, `key_heads` (H,) which key/value head each query head reads. Right, the weights (T, T) of the `chosen`
    (layer, head): queries down, keys across; beside them the share of its sink (T,), upon them the edge of its window.
    """
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(13, 6.4), width_ratios=(1, 1.5))
        _overview(left, overview, chosen, key_heads, of, form)
        token_map(right, weights, tokens, sinks=sinks, window=window)
        right.set_title(f"layer {chosen[0]}, head {chosen[1]}: weights", fontsize=13)
        figure.suptitle(title, x=0.02, ha="left", fontweight="bold", fontsize=15)
        figure.tight_layout()
        if message:
            figure.text(0.02, -0.03, message, va="top", color=INK)
    return figure


def _overview(
    axes: Axes, table: "pd.DataFrame", chosen: tuple[int, int], key_heads: Sequence[int], of: str, form: str
) -> None:
    values = table.to_numpy(dtype=float)
    top = values.max() or 1.0
    axes.imshow(values, cmap="cividis", vmin=0, vmax=top, aspect="equal")
    for (layer, head), value in np.ndenumerate(values):
        ink = "black" if value > 0.46 * top else "white"
        axes.text(head, layer, form.format(value), ha="center", va="center", color=ink, fontsize=10)
    axes.add_patch(Rectangle((chosen[1] - 0.5, chosen[0] - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=3))
    axes.set_xticks(range(len(table.columns)), table.columns)
    axes.set_yticks(range(len(table.index)), table.index)
    axes.set(xlabel=_groups(axes, key_heads), ylabel="layer")
    axes.set_title(of, fontsize=13)
    _bare(axes)


def _groups(axes: Axes, key_heads: Sequence[int]) -> str:
    """A line between the heads of two groups, and the name of the axis."""
    for head in range(1, len(key_heads)):
        if key_heads[head] != key_heads[head - 1]:
            axes.axvline(head - 0.5, color="white", linewidth=4)
    shared = len(key_heads) // len(set(key_heads))
    return "query head" + (f" ({shared} share each key/value head)" if shared > 1 else "")


def token_map(
    axes: Axes,
    weights: np.ndarray,
    tokens: Sequence[str],
    *,
    sinks: np.ndarray | None = None,
    window: int | None = None,
) -> None:
    """Weights (T, T) as in `heads_and_map`, in one panel; white where a token cannot look."""
    length = len(tokens)
    place = np.arange(length)
    back = place[:, None] - place
    seen = (back >= 0) & (back < (window or length))
    # the root shows small weights too
    look = {"cmap": "cividis", "norm": PowerNorm(0.5, 0, 1), "aspect": "equal", "interpolation": "nearest"}
    image = axes.imshow(np.where(seen, weights, np.nan), **look)
    if sinks is not None:
        axes.imshow(np.asarray(sinks)[:, None], extent=(-3.5, -2, length - 0.5, -0.5), **look)
        axes.text(
            -2.75, length, "sink", color=INK, fontsize=9, rotation=60, ha="right", va="top", rotation_mode="anchor"
        )
    if window and window < length:
        edge = [
            (x, y)
            for j in range(length - window)
            for x, y in ((j - 0.5, j + window - 0.5), (j + 0.5, j + window - 0.5))
        ]
        axes.plot(*zip(*edge, strict=True), color=RED, linewidth=2, label=f"window of {window} ends")
        axes.legend(loc="upper right", labelcolor=INK, fontsize=11)
    every = -(-length // LABELS)
    axes.set_yticks(place[::every], tokens[::every], fontsize=9)
    axes.set_xticks(place[::every], tokens[::every], fontsize=9, rotation=60, ha="right", rotation_mode="anchor")
    axes.set(xlim=(-4 if sinks is not None else -0.5, length - 0.5), ylim=(length - 0.5, -0.5))
    axes.figure.colorbar(image, ax=axes, shrink=0.7, ticks=[0, 0.1, 0.25, 0.5, 1], format=PercentFormatter(1.0))
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
