"""Pictures of multi-head latent attention: what each form costs as more queries come at once."""

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lmlab.figures.theme import BLUE, GREY, INK, RED, style, takeaway

if TYPE_CHECKING:
    import pandas as pd

LOOKS = {"keys and values kept": (GREY, "s"), "expanded": (RED, "^"), "absorbed": (BLUE, "o")}


def forms(panels: dict[str, "pd.DataFrame"], message: str = "") -> Figure:
    """`panels`: title with its unit -> one row per number of queries, one column per form. Both axes logarithmic."""
    with style():
        figure, every = plt.subplots(1, len(panels), figsize=(11, 4.4), squeeze=False)
        for axes, (title, table) in zip(every[0], panels.items(), strict=True):
            for form in table.columns:
                colour, marker = LOOKS[form]
                axes.loglog(table.index, table[form], color=colour, marker=marker, label=form)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.set_title(title, fontsize=13)
            axes.set_xlabel("queries at once")
        every[0][0].legend(labelcolor=INK)
        figure.tight_layout()
        if message:
            takeaway(every[0][0], message)
    return figure
