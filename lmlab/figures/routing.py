"""Pictures of routing: which experts read the tokens of a text, who reads what, and load over training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmlab.figures.theme import BLUE, INK, ORANGE, RED, style, takeaway

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def heatmaps(
    panels: dict[str, "np.ndarray"], loads: dict[str, Sequence[float]], tokens: Sequence[str], message: str = ""
) -> Figure:
    """Tokens by experts, a panel for each title: `panels` the weights (E, N), 0 where the expert does not read the
    token; `loads` each expert's load (E,), 1 when even; `tokens` (N,) as they can be shown."""
    with style():
        figure, every = plt.subplots(
            len(panels), 2, figsize=(12, 1.4 + 2.3 * len(panels)), width_ratios=(1, 6), squeeze=False, sharey="row"
        )
        for (bars, cells), (title, weights) in zip(every, panels.items(), strict=True):
            experts = range(len(weights))
            bars.barh(experts, loads[title], color=ORANGE, height=0.7)
            bars.axvline(1, color=INK, linestyle="--", linewidth=1)
            bars.set(xlim=(0, max(2, *loads[title])), yticks=experts, ylabel="expert")
            bars.tick_params(labelsize=10)
            bars.grid(visible=False)
            shades = cells.imshow(weights, cmap="cividis", aspect="auto", vmin=0, interpolation="nearest")
            cells.set_title(title, fontsize=13)
            cells.grid(visible=False)
            cells.set_xticks([])
            figure.colorbar(shades, ax=cells, pad=0.01).ax.tick_params(labelsize=10)
        every[0][0].set_title("load, 1 is even", fontsize=12, fontweight="normal")
        every[-1][1].set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=11)
        figure.tight_layout()
        if message:
            takeaway(every[-1][0], message, below=96)
    return figure


def readers(loads: "pd.DataFrame", title: str, message: str = "") -> Figure:
    """`loads`: one row per kind of text or token, one column per expert, 1 when even."""
    with style():
        figure, axes = plt.subplots(figsize=(9, 1.4 + 0.5 * len(loads)))
        axes.imshow(loads, cmap="cividis", aspect="auto", vmin=0)
        limit = 0.45 * loads.to_numpy().max()
        for i, row in enumerate(loads.to_numpy()):
            for j, value in enumerate(row):
                ink = "black" if value > limit else "white"
                axes.text(j, i, f"{value:.1f}", ha="center", va="center", color=ink, fontsize=11)
        axes.set_yticks(range(len(loads)), loads.index)
        axes.set_xticks(range(len(loads.columns)), loads.columns)
        axes.set(title=title, xlabel="expert")
        axes.grid(visible=False)
        if message:
            takeaway(axes, message)
    return figure


def balancing(curves: dict[str, dict[str, list[list[tuple[int, float]]]]], message: str = "") -> Figure:
    """The busiest expert's load over training. `curves`: title of a panel -> "balanced" or "unbalanced" -> of each seed
    the points (tokens, load over the mean)."""
    looks = {"balanced": (BLUE, "-"), "unbalanced": (RED, "--")}
    with style():
        figure, every = plt.subplots(1, len(curves), figsize=(12, 4), sharey=True, squeeze=False)
        for axes, (title, ways) in zip(every[0], curves.items(), strict=True):
            for way, seeds in ways.items():
                colour, dash = looks[way]
                for seed in seeds:
                    axes.plot(*zip(*seed, strict=True), color=colour, linestyle=dash, linewidth=1, alpha=0.5)
                mean = [(points[0][0], sum(v for _, v in points) / len(points)) for points in zip(*seeds, strict=False)]
                axes.plot(*zip(*mean, strict=True), color=colour, linestyle=dash, label=way)
            _finish(axes, title)
        every[0][0].set_ylabel("load of the busiest expert")
        every[0][0].legend(labelcolor=INK)
        figure.tight_layout()
        if message:
            takeaway(every[0][0], message)
    return figure


def _finish(axes: Axes, title: str) -> None:
    axes.axhline(1, color=INK, linestyle=":", linewidth=1.5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}M" if value else "0")
    axes.set_title(title, fontsize=13)
    axes.set_xlabel("tokens read")
