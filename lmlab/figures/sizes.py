"""Pictures of parameters: how many a model has, and how many one token uses."""

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from lmlab.figures.theme import FAMILY_COLOURS, family, pale, style, takeaway

if TYPE_CHECKING:
    import pandas as pd


def total_and_active(sizes: "pd.DataFrame", message: str = "") -> Figure:
    """`sizes`: columns parameters and active_parameters, by model name. The active part is solid, the rest pale."""
    with style():
        figure, axes = plt.subplots(figsize=(9, 1.4 + 0.7 * len(sizes)))
        for row, (name, size) in enumerate(sizes.iterrows()):
            total, active = size["parameters"] / 1e9, size["active_parameters"] / 1e9
            colour = FAMILY_COLOURS[family(name)]
            axes.barh(row, total, color=pale(colour), height=0.6)
            axes.barh(row, active, color=colour, height=0.6)
            axes.text(total, row, f"  {total:,.4g} B, {active:,.3g} B of them for one token", va="center")
        axes.set_yticks(range(len(sizes)), sizes.index)
        axes.invert_yaxis()
        axes.set_xlim(0, sizes["parameters"].max() / 1e9 * 2.1)
        axes.set(title="Parameters: all (pale) and active for one token (solid)", xlabel="billions of parameters")
        axes.grid(axis="y", visible=False)
        if message:
            takeaway(axes, message)
    return figure
