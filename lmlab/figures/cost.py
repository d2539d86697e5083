"""Pictures of cost: models under the roofline of a device, and the experts that a batch touches."""

from itertools import cycle
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from lmlab.figures.theme import FAMILY_COLOURS, FAMILY_MARKERS, GREY, INK, family, style, takeaway

if TYPE_CHECKING:
    import pandas as pd


def roofline(
    points: "pd.DataFrame", bandwidth: float, peaks: dict[str, float], title: str, message: str = ""
) -> Figure:
    """`points`: columns model, phase ("writing" or "reading"), intensity (FLOP per byte) and flops_per_second, as many
    rows as one likes. `bandwidth` in bytes/s, `peaks` in FLOP/s by number format. Writing is filled, reading hollow."""
    with style():
        figure, axes = plt.subplots(figsize=(10, 5.2))
        low, high = points["intensity"].min() / 2, max(points["intensity"].max(), max(peaks.values()) / bandwidth) * 3
        _roof(axes, low, high, bandwidth, peaks)
        for phase, marks in points.groupby("phase", sort=False):
            for point in marks.itertuples():
                colour, marker = FAMILY_COLOURS[family(point.model)], FAMILY_MARKERS[family(point.model)]
                axes.loglog(
                    [point.intensity],
                    [point.flops_per_second / 1e12],
                    marker=marker,
                    linestyle="none",
                    markersize=11,
                    markeredgewidth=2.5,
                    markeredgecolor=colour,
                    markerfacecolor=colour if phase == "writing" else "white",
                    label=f"{point.model}, {phase}",
                    zorder=3,
                )
        axes.set(xscale="log", yscale="log", xlim=(low, high), title=title)
        axes.set(xlabel="FLOP for each byte moved", ylabel="TFLOP/s at most")
        axes.legend(loc="lower right", labelcolor=INK)
        if message:
            takeaway(axes, message)
    return figure


def _roof(axes: Axes, low: float, high: float, bandwidth: float, peaks: dict[str, float]) -> None:
    """The slope of the bandwidth up to the highest peak, and each peak from the slope on."""
    top = max(peaks.values())
    axes.plot([low, top / bandwidth], [low * bandwidth / 1e12, top / 1e12], color=INK, zorder=1)
    for format, peak in peaks.items():
        axes.plot([peak / bandwidth, high], [peak / 1e12] * 2, color=INK, zorder=1)
        axes.axvline(peak / bandwidth, color=GREY, linestyle=":", linewidth=1.5, zorder=0)
        label = f"{format}: {peak / 1e12:,.0f} TFLOP/s"
        axes.text(peak / bandwidth / 1.15, peak / 1e12, label, ha="right", va="center", color=INK)


def touched(curves: "pd.DataFrame", message: str = "") -> Figure:
    """`curves`: % of a layer's experts that are read, one row per number of tokens at once, one column per model."""
    with style():
        figure, axes = plt.subplots(figsize=(9, 4.2))
        # wide below narrow, so that equal curves both show
        widths = [7 - 2.2 * i for i in range(3)]
        for name, width in zip(curves.columns, cycle(widths)):
            colour, marker = FAMILY_COLOURS[family(name)], FAMILY_MARKERS[family(name)]
            axes.plot(curves.index, curves[name], color=colour, marker=marker, linewidth=width, label=name)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(
            ylim=(0, 104), title="Experts that one step reads", xlabel="texts at once", ylabel="% of a layer's experts"
        )
        axes.legend(loc="lower right", labelcolor=INK)
        if message:
            takeaway(axes, message)
    return figure
