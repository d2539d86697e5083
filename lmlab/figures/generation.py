"""Pictures of generation: the next token before it is drawn, what each token costs, and a text with its drafts."""

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, MaxNLocator, PercentFormatter

from lmlab.figures.theme import BLUE, GREEN, GREY, INK, RED, style, takeaway

if TYPE_CHECKING:
    import pandas as pd

LOOKS = {"without a cache": (RED, "^"), "with a cache": (BLUE, "o")}
# how a token came into the text -> its mark, the colour and line of its frame
PIECES = {
    "prompt": ("", "#BBBBBB", ":"),
    "drawn": ("", GREY, "-"),
    "accepted": ("\u2713 ", GREEN, "-"),
    "rejected": ("\u2717 ", RED, "--"),
    "replaced": ("", GREY, "-"),
    "chosen": ("> ", BLUE, "-"),
}


def next_token(table: "pd.DataFrame", message: str = "") -> Figure:
    """`table`: one row per token, named by its index; a column of probabilities for each way to look at them. The first
    column is the model's own."""
    with style():
        figure, axes = plt.subplots(figsize=(9, 1.6 + 0.42 * len(table)))
        height = 0.8 / len(table.columns)
        for i, (name, hatch, colour) in enumerate(
            zip(table.columns, ("", "//", ".."), (GREY, BLUE, GREEN), strict=False)
        ):
            places = [row + i * height for row in range(len(table))]
            axes.barh(places, table[name], height=height, color=colour, hatch=hatch, label=name, align="edge")
            for place, value in zip(places, table[name], strict=True):
                words = f" {value:.1%}" if value else " cut"
                axes.text(value, place + height / 2, words, va="center", fontsize=9, color=INK)
        axes.set_yticks([row + 0.4 for row in range(len(table))], table.index)
        axes.invert_yaxis()
        axes.set_xlim(0, min(1.0, 1.15 * float(table.to_numpy().max())))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(title="The next token, before it is drawn", xlabel="probability")
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower right", labelcolor=INK)
        if message:
            takeaway(axes, message)
    return figure


def cost_by_token(panels: dict[str, "pd.DataFrame"], message: str = "") -> Figure:
    """`panels`: title with its unit -> one row per new token, columns "without a cache" and "with a cache". The axis
    of costs is logarithmic."""
    with style():
        figure, every = plt.subplots(1, len(panels), figsize=(min(5.5 * len(panels), 12), 4), squeeze=False)
        for axes, (title, table) in zip(every[0], panels.items(), strict=True):
            for name, (colour, marker) in LOOKS.items():
                axes.semilogy(table.index, table[name], color=colour, marker=marker, markersize=5, label=name)
            axes.set_title(title, fontsize=13)
            axes.set_xlabel("new token")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.2, 0.5)))
        every[0][0].legend(labelcolor=INK)
        figure.tight_layout()
        if message:
            takeaway(every[0][0], message)
    return figure


def written(pieces: list[tuple[str, str]], message: str = "") -> Figure:
    """A text as pieces: (token, how it came there), each in a frame that says how: a tick and a solid one
    for an accepted draft, a cross and a dashed one for a rejected, a dotted one for the prompt."""
    with style():
        figure = plt.figure(figsize=(9, 1.0))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        renderer, x, y = figure.canvas.get_renderer(), 8.0, 0.0
        for text, how in pieces:
            mark, colour, line = PIECES[how]
            said = axes.annotate(
                mark + text.strip(),
                (0, 1),
                xytext=(x, y),
                xycoords="axes fraction",
                textcoords="offset pixels",
                va="top",
                fontsize=11,
                color=INK,
                bbox={
                    "boxstyle": "square,pad=0.2",
                    "facecolor": "white",
                    "edgecolor": colour,
                    "linestyle": line,
                    "linewidth": 2,
                },
            )
            width = said.get_window_extent(renderer).width
            if x + width > 9 * 80 - 8:
                x, y = 8.0, y - 30
                said.set_position((x, y))
            x += width + 10
            if how == "rejected":
                said.set_color(RED)
        if message:
            axes.annotate(
                message,
                (0, 1),
                xytext=(8, y - 40),
                xycoords="axes fraction",
                textcoords="offset pixels",
                va="top",
                color=INK,
            )
    return figure
