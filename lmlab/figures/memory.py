"""Pictures of bytes: the cache against the length of the text, and at one length."""

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from lmlab.figures.theme import FAMILY_COLOURS, FAMILY_HATCHES, FAMILY_MARKERS, INK, family, style, takeaway

if TYPE_CHECKING:
    import pandas as pd

GB = 10**9


def cache_by_length(cache: "pd.DataFrame", message: str = "") -> Figure:
    """`cache`: bytes, one row per length in tokens, one column per model. Both axes logarithmic, each line named at its
    end."""
    with style():
        figure, axes = plt.subplots()
        for name in cache.columns:
            colour, marker = FAMILY_COLOURS[family(name)], FAMILY_MARKERS[family(name)]
            axes.loglog(cache.index, cache[name] / GB, color=colour, marker=marker, base=2)
        _label_ends(axes, cache.iloc[-1] / GB)
        axes.set_yscale("log", base=10)
        axes.set_xticks(cache.index, [_tokens(n) for n in cache.index])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(title="The cache grows with the text", xlabel="tokens in the text", ylabel="cache, GB (bf16)")
        if message:
            takeaway(axes, message)
    return figure


def _label_ends(axes, values: "pd.Series") -> None:
    """Names beside the last points, pushed apart where they would overlap (by a factor of 1.35 on the log axis)."""
    placed, end = 0.0, axes.lines[0].get_xdata()[-1]
    for name, value in values.sort_values().items():
        height = max(value, placed * 1.35)
        placed = height
        axes.text(end * 1.15, height, f"{name}  {value:.3g} GB", va="center", color=INK, clip_on=False)


def _tokens(n: int) -> str:
    return f"{n // 1024}K" if n >= 1024 and n % 1024 == 0 else f"{n:,}"


def bars(values: "pd.Series", title: str, unit: str = "GB", message: str = "") -> Figure:
    """One horizontal bar per model, its number beside it. `values` in the given unit, by model name."""
    with style():
        figure, axes = plt.subplots(figsize=(9, 1.2 + 0.7 * len(values)))
        for row, (name, value) in enumerate(values.items()):
            colour, hatch = FAMILY_COLOURS[family(name)], FAMILY_HATCHES[family(name)]
            axes.barh(row, value, color=colour, hatch=hatch, height=0.6)
            axes.text(value, row, f"  {value:,.3g} {unit}", va="center", fontweight="bold")
        axes.set_yticks(range(len(values)), values.index)
        axes.invert_yaxis()
        axes.set_xlim(0, values.max() * 1.2)
        axes.set(title=title, xlabel=unit)
        axes.grid(axis="y", visible=False)
        if message:
            takeaway(axes, message)
    return figure
